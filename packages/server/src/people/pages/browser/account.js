import { call, element, goOn, leave, onSubmit, Refused, run, signOut } from "./page.js";
import { makePasskey, passkeys } from "./passkey.js";

/** @param {string} what */
const done = (what) => leave(`/account?done=${what}`);

const add = element("add");
add.hidden = !passkeys;
if (!passkeys) element("why").textContent = "Passkeys need a server with a name, not a bare address, and a browser that knows them.";
onSubmit(add, async ({ name }) => {
  const options = await call("/passkey/generate-register-options").catch((error) => {
    throw error.code === "FORBIDDEN"
      ? new Refused(
          "For a new passkey you must have signed in within the last day. Sign out below, sign in again, then add it.",
          error.code,
        )
      : error;
  });
  const response = await makePasskey(options);
  await call("/passkey/verify-registration", { response, name });
  await done("passkey-added");
});

for (const form of document.querySelectorAll("form")) {
  const { rename, remove, end } = form.dataset;
  if (end)
    onSubmit(form, async () => {
      await call("/programs/end", { id: end });
      await done("program-ended");
    });
  if (rename)
    onSubmit(form, async ({ name }) => {
      await call("/passkey/update-passkey", { id: rename, name });
      await done("passkey-renamed");
    });
  if (remove)
    onSubmit(form, async () => {
      await call("/passkey/delete-passkey", { id: remove });
      await done("passkey-removed");
    });
}

for (const button of document.querySelectorAll("button"))
  if (button.dataset.connect)
    button.addEventListener("click", () =>
      run(button, async () => {
        const back = { callbackURL: "/account?done=connected", errorCallbackURL: "/account" };
        await goOn(await call("/link-social", { provider: button.dataset.connect, ...back, disableRedirect: true }));
      }),
    );

onSubmit(element("sign-out"), async () => {
  await signOut();
  await leave("/sign-in?done=signed-out");
});
