import { call, element, onSubmit, praise } from "./page.js";

const form = element("make");
onSubmit(form, async ({ name, email, password }) => {
  await call("/sign-up/email", { name, email, password });
  form.hidden = true;
  praise(`Look into your mail: we wrote to ${email}. Open the link in it to confirm your address with this password, then sign in.`);
});
