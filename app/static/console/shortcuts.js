// The keyboard: single keys outside of fields (which can be turned off), and two with a modifier anywhere.
import { kept } from "./dom.js";

/** What the help lists. */
export const SHORTCUTS = [
  ["o", "choose a file"], ["p", "paste text"], ["e", "the example of the chosen job"], ["1 2 3 4", "choose the job"],
  ["r", "run"], ["Ctrl+Enter", "run, also from within a field"], ["Esc", "cancel what runs"],
  ["a", "analyse"], ["j", "jobs"], ["m", "models"], ["t", "dark or light"], ["?", "this list"],
];

/** Listen to the keyboard. `actions` are functions by name. */
export function shortcuts(actions) {
  const single = {
    o: actions.choose, p: actions.paste, e: actions.example, r: actions.run, t: actions.theme, "?": actions.help,
    a: () => actions.view("analyse"), j: () => actions.view("jobs"), m: () => actions.view("models"),
    1: () => actions.task(0), 2: () => actions.task(1), 3: () => actions.task(2), 4: () => actions.task(3),
  };
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      actions.run();
    } else if (event.key === "Escape") {
      actions.stop();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target) && kept.get("single-keys") !== "off") {
      const action = single[event.key];
      if (action) { event.preventDefault(); action(); }
    }
  });
}

const isTyping = (node) => node.closest?.("textarea, select, input:not([type=checkbox], [type=radio], [type=file])");
