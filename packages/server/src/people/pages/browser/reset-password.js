import { takeToken } from "./fragment.js";
import { call, element, leaveDone, onSubmit, praise } from "./page.js";

const token = takeToken();
const request = element("request");
const change = element("change");
request.hidden = token !== null;
change.hidden = token === null;

onSubmit(request, async ({ email }) => {
  await call("/request-password-reset", { email });
  request.hidden = true;
  praise(`If ${email} has an account here, a mail is on its way. Open the link in it within the hour.`);
});

onSubmit(change, async ({ newPassword }) => {
  await call("/reset-password", { newPassword, token });
  await leaveDone("/sign-in", "password-changed");
});
