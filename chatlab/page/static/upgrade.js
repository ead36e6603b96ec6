// A connection begins with polling and changes to a WebSocket, its upgrade. If the line breaks in
// the middle, when polling has stopped and the WebSocket is not yet in use, the Socket.IO client
// notices nothing before the server's next ping is missing: for up to 45 seconds it sends nothing.

// End such a connection at once. The next one stays with polling, so that a middlebox which breaks
// each upgrade does not break that one too. The one after it may upgrade.
export function endBrokenUpgrades(manager) {
  manager.on("open", () => {
    const { engine, opts } = manager;
    opts.upgrade = true; // for the next engine: this one has its own copy
    engine.on("upgradeError", () => {
      if (!engine.upgrading) return; // polling goes on
      opts.upgrade = false;
      engine.transport.emit("close"); // engine.close() waits for the upgrade, and until all is sent
    });
  });
}
