// Keeps parts of a page up to date while it is open. The protocol is described in web/live.py.
//
//   <div id="class" data-live="/address" data-events="/events">...</div>
//
// When the stream at data-events says that something changed, the page at data-live is fetched and the part with the
// same id in it takes the place of this one's content (see morph.js). data-every="20" also asks each 20 seconds, for
// what no event tells. Without this script the page is a page: reload it.
"use strict";

(() => {
  const FASTEST = 1000; // at most one fetch a second for each part, and none before the last one is answered
  const FIRST_PAUSE = 1000; // between attempts to connect: doubled, with jitter, to the longest
  const LONGEST_PAUSE = 30_000;
  const HIDDEN_AFTER = 5000; // a tab in the background holds no connection: browsers allow few to one host
  const QUIET_BETWEEN_NEWS = 5000; // a screen reader is not interrupted more often

  const parts = [...document.querySelectorAll("[data-live][id]")];
  if (!parts.length || !window.EventSource) return;
  const stateLine = document.querySelector("[data-live-state]");
  const newsLine = document.querySelector("[data-live-news]");
  const streams = new Map();
  let toldAt = 0;
  let toTell = null;

  // ------------------------------------------------------------------------------------------------------- telling

  function showState() {
    if (!stateLine || !streams.size) return;
    const live = [...streams.values()].every((stream) => stream.open);
    const words = live ? "Live" : "Reconnecting";
    if (stateLine.textContent !== words) stateLine.textContent = words;
    stateLine.dataset.state = live ? "live" : "reconnecting";
    stateLine.classList.toggle("good", live);
    stateLine.classList.toggle("wait", !live);
    stateLine.classList.remove("quiet");
    stateLine.hidden = false;
  }

  // The text of [data-announce] inside a part is read out when it has changed.
  function announce(text) {
    clearTimeout(toTell);
    toTell = setTimeout(
      () => {
        toldAt = Date.now();
        if (newsLine) newsLine.textContent = text;
      },
      Math.max(0, toldAt + QUIET_BETWEEN_NEWS - Date.now()),
    );
  }

  const summary = (part) => {
    const line = part.querySelector("[data-announce]");
    return line ? line.textContent.replace(/\s+/g, " ").trim() : "";
  };

  // ------------------------------------------------------------------------------------------------------ fetching

  const fetching = new Map(); // part -> {again, at}

  async function refresh(part) {
    const now = fetching.get(part);
    if (now) {
      now.again = true;
      return;
    }
    const state = { again: false };
    fetching.set(part, state);
    try {
      await replace(part);
      part.dataset.liveFetch = "fresh";
    } catch {
      part.dataset.liveFetch = "stale"; // the server is away: the stream is too, and asks again when it is back
    }
    setTimeout(() => {
      fetching.delete(part);
      if (state.again) refresh(part);
    }, FASTEST);
  }

  async function replace(part) {
    const answer = await fetch(part.dataset.live, {
      headers: { Accept: "text/html", "X-Fragment": "1" },
      credentials: "same-origin",
    });
    if (answer.status === 401) {
      location.reload(); // signed out meanwhile: the page itself says what to do
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(part.id);
    if (!fresh) return;
    const before = summary(part);
    morph(part, fresh);
    const after = summary(part);
    if (after && after !== before) announce(after);
    part.dispatchEvent(new CustomEvent("live:updated", { bubbles: true }));
  }

  // ----------------------------------------------------------------------------------------------------- listening

  function connect(stream) {
    clearTimeout(stream.timer);
    if (stream.source) return;
    const source = new EventSource(stream.address);
    stream.source = source;
    source.onopen = () => {
      stream.open = true;
      stream.pause = FIRST_PAUSE;
      showState();
    };
    source.onerror = () => {
      stream.open = false;
      showState();
      if (source.readyState !== EventSource.CLOSED) return; // the browser connects again and says what it has heard
      disconnect(stream);
      stream.timer = setTimeout(
        () => {
          connect(stream);
          stream.parts.forEach(refresh); // whatever the stream's trouble is, the page does not grow old
        },
        stream.pause * (0.5 + Math.random()),
      );
      stream.pause = Math.min(stream.pause * 2, LONGEST_PAUSE);
    };
    for (const name of ["changed", "reload"]) {
      source.addEventListener(name, () => stream.parts.forEach(refresh));
    }
  }

  function disconnect(stream) {
    clearTimeout(stream.timer);
    if (stream.source) stream.source.close();
    stream.source = null;
    stream.open = false;
  }

  for (const part of parts) {
    const address = part.dataset.events;
    if (address) {
      if (!streams.has(address)) {
        streams.set(address, { address, parts: [], source: null, open: false, pause: FIRST_PAUSE, timer: null });
      }
      streams.get(address).parts.push(part);
    }
    const every = Number(part.dataset.every);
    if (every >= 1) {
      setInterval(() => {
        if (!document.hidden) refresh(part);
      }, every * 1000);
    }
  }
  const connectAll = () => streams.forEach(connect);
  const disconnectAll = () => streams.forEach(disconnect);

  let leaving = null;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(disconnectAll, HIDDEN_AFTER);
    else connectAll(); // a new stream begins with `reload`
  });
  window.addEventListener("pagehide", disconnectAll);
  window.addEventListener("pageshow", connectAll);
  if (!document.hidden) connectAll();
})();
