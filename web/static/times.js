// Keeps "5 min ago" true while a page stays open: <time datetime="..." data-ago>. web/look.py `ago` says the same.
"use strict";

(() => {
  const ago = (at) => {
    const seconds = (Date.now() - at) / 1000;
    if (seconds < 60) return "just now";
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} days ago`;
  };

  setInterval(() => {
    for (const element of document.querySelectorAll("time[data-ago]")) {
      const at = Date.parse(element.dateTime);
      if (!Number.isNaN(at) && element.textContent !== ago(at)) element.textContent = ago(at);
    }
  }, 30_000);
})();
