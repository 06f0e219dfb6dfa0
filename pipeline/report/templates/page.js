const dialog = document.getElementById("large");
const enlarge = (svg) => {
  const copy = svg.cloneNode(true), frame = svg.viewBox.baseVal;
  // Its own shape, or a crop would show what lies beside it.
  copy.style.width = `min(94vw, ${(92 * frame.width) / frame.height}vh)`;
  dialog.replaceChildren(copy);
  dialog.showModal();
};
for (const svg of document.querySelectorAll("svg.pic")) {
  svg.tabIndex = 0;
  svg.addEventListener("click", () => enlarge(svg));
  svg.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(svg); });
}
dialog.addEventListener("click", () => dialog.close());
