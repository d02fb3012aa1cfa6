/** Takes the token out of the address, so that it does not stay in the history. It never went to the server. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  history.replaceState(null, "", location.pathname + location.search);
  // Another link of a mail, opened in this tab, would change no more than the fragment.
  addEventListener("hashchange", () => location.reload());
  return token;
}
