// The proof state in the head: what this browser has found out, beside what the server says.

const STATES = {
  verified: { tone: "seal", glyph: "hex-ok", word: "Verified here" },
  redacted: { tone: "seal", glyph: "hex-red", word: "Verified here, redacted" },
  open: { tone: "open", glyph: "hex-open", word: "Whole so far, checked here" },
  failed: { tone: "bad", glyph: "hex-bad", word: "Proof failed" },
  unchecked: { tone: "open", glyph: "hex-open", word: "Not checked here" },
  checking: { tone: "open", glyph: "hex-open", word: "Checking" },
  unfinished: { tone: "open", glyph: "hex-open", word: "Check not finished" },
};

export class ProofChip {
  /** @type {{state: string, seq?: number | null} | null} */
  #verdict = null;

  /**
   * @param {HTMLElement} panel `#proof`, which says "proof-state"
   * @param {{isOn: boolean}} replay in the past the record is not sealed, and the chip says what the server sent
   */
  constructor(panel, replay) {
    this.replay = replay;
    panel.addEventListener("proof-state", (event) => {
      this.#verdict = /** @type {CustomEvent} */ (event).detail;
      this.write();
    });
  }

  /** Writes the state again, after the head was replaced. */
  write() {
    const chip = document.getElementById("proof-chip");
    const shown = STATES[/** @type {keyof STATES} */ (this.#verdict?.state ?? "")];
    if (chip === null || shown === undefined || this.replay.isOn) return;
    chip.className = `st st--${shown.tone}`;
    chip.querySelector("use")?.setAttribute("href", `#i-${shown.glyph}`);
    const at = this.#verdict?.seq ? ` at event ${this.#verdict.seq}` : "";
    const word = chip.querySelector("span");
    if (word !== null) word.textContent = `${shown.word}${at}`;
  }
}
