const dialog = document.getElementById("large");
const enlarge = (svg) => { dialog.replaceChildren(svg.cloneNode(true)); dialog.showModal(); };
for (const svg of document.querySelectorAll("svg.pic")) {
  svg.tabIndex = 0;
  svg.addEventListener("click", () => enlarge(svg));
  svg.addEventListener("keydown", (event) => { if (event.key === "Enter") enlarge(svg); });
}
dialog.addEventListener("click", () => dialog.close());
