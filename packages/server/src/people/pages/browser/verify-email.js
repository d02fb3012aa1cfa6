import { takeToken } from "./fragment.js";
import { call, element, leaveDone, onSubmit, praise, Refused } from "./page.js";

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

onSubmit(confirm, async ({ password }) => {
  try {
    await call("/verify-email", { token, password });
    await leaveDone("/sign-in", "verified");
  } catch (error) {
    // With a wrong password the link stays good.
    const linkIsGood = error instanceof Refused && error.code === "UNAUTHENTICATED";
    confirm.hidden = !linkIsGood;
    request.hidden = linkIsGood;
    throw error;
  }
});
