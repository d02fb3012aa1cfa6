import { asked, call, element, goOn, leave, onSubmit, praise, signOut } from "./page.js";

onSubmit(element("answer"), async ({ accept, space }) => {
  const scopes = [.../** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("input[name=scope]"))];
  const allowed = scopes.filter(({ checked }) => checked).map(({ value }) => value);
  const choice = accept === "yes" && space !== undefined ? { space, scope: allowed.join(" ") } : {};
  const answer = await call("/oauth2/consent", { accept: accept === "yes", ...choice, ...asked() });
  praise(
    accept === "yes" ? "Allowed. You can close this page when the program says that it is signed in." : "Denied. You can close this page.",
  );
  await goOn(answer);
});

onSubmit(element("other"), async () => {
  await signOut();
  await leave(`/sign-in${location.search}`);
});
