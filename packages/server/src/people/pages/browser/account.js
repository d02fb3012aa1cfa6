import { call, element, goOn, leaveDone, markDone, onSubmit, Refused, run, signOut } from "./page.js";
import { makePasskey, passkeys } from "./passkey.js";

/** @param {string} what */
const done = (what) => leaveDone("/account", what);

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
  const { rename, remove, disconnect, end, revoke } = form.dataset;
  if (revoke)
    onSubmit(form, async () => {
      await revokeKey(revoke);
      await done("key-revoked");
    });
  if (disconnect)
    onSubmit(form, async () => {
      await call("/unlink-account", { id: disconnect });
      await done("disconnected");
    });
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

onSubmit(element("revoke-all"), async () => {
  await call("/revoke-all", { all: true });
  await done("all-revoked");
});

/** Revokes an API key, as any program does. @param {string} id */
async function revokeKey(id) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "apiKey.delete", params: { id } });
  const answer = await fetch("/api/v1/user/rpc", { method: "POST", headers: { "content-type": "application/json" }, body });
  const { error } = await answer.json();
  if (error) throw new Refused(error.message, error.data.code);
}

for (const button of document.querySelectorAll("button"))
  if (button.dataset.connect)
    button.addEventListener("click", () =>
      run(button, async () => {
        const back = { callbackURL: "/account?done=connected", errorCallbackURL: "/account" };
        const answer = await call("/link-social", { provider: button.dataset.connect, ...back, disableRedirect: true });
        markDone("connected");
        await goOn(answer);
      }),
    );

onSubmit(element("sign-out"), async () => {
  await signOut();
  await leaveDone("/sign-in", "signed-out");
});
