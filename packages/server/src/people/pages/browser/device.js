import { call, element, leaveDone, onSubmit } from "./page.js";

const form = element("answer");
onSubmit(form, async ({ answer }) => {
  await call(`/device/${answer}`, { userCode: form.dataset.code });
  await leaveDone("/device", answer === "approve" ? "allowed" : "denied");
});
