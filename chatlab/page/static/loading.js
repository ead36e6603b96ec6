// Says that a script of the page is missing: then none of them runs, not even to say so. It stands
// in front of them, and needs no other script.

addEventListener(
  "error",
  ({ target }) => {
    if (target.type !== "module") return;
    document.getElementById("state").textContent = "not connected";
    document.getElementById("problem").textContent =
      "A part of this page did not load. Perhaps the server was updated just now: reload the page.";
  },
  true, // such an error does not rise from its element
);
