// Why a page cannot connect although the server answers: the server may refuse the page's address.
// The browser does not say so, whatever transport was refused; the server does, if it is asked.

// Return a sentence if the server refuses this page's address, and else "".
export async function refusedAddress() {
  const answer = await fetch("origin", { method: "POST" }) // a GET would not tell our address
    .then((response) => response.json())
    .catch(() => undefined); // there is no server, or a proxy answers
  if (answer?.allowed !== false) return "";
  return (
    `The server refuses this page, since it does not know its address, ${location.origin}. ` +
    `Whoever runs it can allow it with --origin ${location.origin}.`
  );
}
