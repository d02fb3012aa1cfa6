import { takeToken } from "./fragment.js";
import { call, element, leaveDone, onSubmit, praise } from "./page.js";

const token = takeToken();
const request = element("request");
const confirm = element("confirm");
request.hidden = token !== null;
confirm.hidden = token === null;

onSubmit(request, async ({ email }) => {
  await call("/send-verification-email", { email });
  request.hidden = true;
  praise(`If ${email} waits to be confirmed, a mail is on its way.`);
});

onSubmit(confirm, async () => {
  try {
    await call("/verify-email", { token });
    await leaveDone("/sign-in", "verified");
  } catch (error) {
    confirm.hidden = true;
    request.hidden = false;
    throw error;
  }
});
