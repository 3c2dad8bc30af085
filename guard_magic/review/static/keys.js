// Keys: the defaults, what `head.keys` maps otherwise, and how they are written in hints.

export const DEFAULT_KEYS = {
  safe: "s",
  unsafe: "u",
  unsure: "?",
  skip: "k",
  confirm: "c",
  flag: "f",
  note: "n",
  next: ["j", "ArrowDown"],
  previous: "ArrowUp",
  open: "Enter",
  undo: "z",
  redo: "Shift+z",
  next_unlabelled: "g",
  most_uncertain: "h",
  search: "/",
};
const SIGNS = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Enter: "↵", " ": "Space" };

/** Return `{actions: Map(key -> action), hints: {action: text}}`. A key that is mapped anew leaves its old action. */
export function readKeys(remapped) {
  const actions = new Map();
  const hints = {};
  for (const keys of [DEFAULT_KEYS, remapped || {}]) {
    for (const [action, wanted] of Object.entries(keys)) {
      for (const [key, taken] of actions) if (taken === action) actions.delete(key);
      for (const key of [wanted].flat()) actions.set(eventKey(key), action);
    }
  }
  for (const action of Object.keys(DEFAULT_KEYS)) {
    const keys = [...actions].filter(([, taken]) => taken === action).map(([key]) => keyHint(key));
    hints[action] = keys[0] || "";
  }
  return { actions, hints };
}

/** "Shift+z" is what the browser calls "Z". */
function eventKey(key) {
  const letter = /^shift\+(.)$/i.exec(key);
  return letter ? letter[1].toUpperCase() : key;
}

function keyHint(key) {
  if (SIGNS[key]) return SIGNS[key];
  return /^[A-Z]$/.test(key) ? `⇧${key.toLowerCase()}` : key;
}

/** The key of an event as `actions` has it: letters by Shift alone, so that Caps Lock changes nothing. */
export function pressedKey(event) {
  if (!/^[a-z]$/i.test(event.key)) return event.key;
  return event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase();
}

/** Say whether the event is typing, or a shortcut of the browser's: not ours. */
export function isTyping(event) {
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  return Boolean(target.closest?.("input, textarea, select, [contenteditable='true']"));
}
