"""How a browser finds a port of the kernel's machine: by itself, or through Jupyter.

The browser may be on another machine than the kernel, and reach nothing there but Jupyter: with a
hub, a container or `ssh -L 8888`. jupyter-server-proxy, if Jupyter has it, forwards to any port.
Only the browser can tell what it reaches, so a script in the output of the cell tries it. It knows
Jupyter, and no labs.
"""

import json

FIND = """async (attribute, direct) => {
  const answers = (url, how) => fetch(url, { method: "HEAD", ...how }).then(
    ({ ok, type }) => ok || type === "opaque", // all that another origin may know: it answers
    () => false,
  );
  const find = async () => {
    const config = document.getElementById("jupyter-config-data"); // in every page of Jupyter
    if (!config) return direct;
    // From elsewhere, the browser would ask whether it may look at this computer.
    const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    if (local && await answers(direct, { mode: "no-cors" })) return direct;
    const { port, pathname } = new URL(direct);
    const proxied = `${JSON.parse(config.textContent).baseUrl}proxy/${port}${pathname}`;
    // Who is not logged in is redirected.
    return await answers(proxied, { redirect: "error" }) ? proxied : direct;
  };
  const found = await find();
  for (const element of document.querySelectorAll(`[data-at="${direct}"]`)) {
    element.setAttribute(attribute, found);
    delete element.dataset.at; // to find it again would load it again
  }
}"""
"""The direct way is the first: while no server runs, jupyter-server-proxy writes a traceback for
each attempt of a page to reconnect."""


def finding(attribute: str, url: str) -> str:
    """Return a script that gives the elements with `data-at="URL"` the address that is found.

    `url` is an address of the kernel's machine, `attribute` is "src" or "href". The script knows
    the elements by it, since some programs run the script in another place than it is written.
    """
    return f"<script>({FIND})({json.dumps(attribute)}, {json.dumps(url)});</script>"
