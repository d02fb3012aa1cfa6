import { call, element, leave, onSubmit } from "./page.js";

const form = element("answer");
onSubmit(form, async ({ answer }) => {
  await call(`/device/${answer}`, { userCode: form.dataset.code });
  await leave(`/device?done=${answer === "approve" ? "allowed" : "denied"}`);
});
