// The results and the dialog with an item's details. Runs once, when Gradio has put the component on the page:
// `element` is the component, `props.value` the HTML that Python made, `watch` reports a new one, `trigger` calls Python.
const results = element.querySelector(".results");
const dialog = element.querySelector("dialog");

// Gradio would patch the old cards into the new ones, and an old picture would stay under a new title until its
// successor has loaded; so the template stays empty and the cards are put in afresh.
const render = () => { results.innerHTML = props.value || ""; };

const showDetails = async (card) => {
  const query = new URLSearchParams({ id: card.dataset.id, score: card.dataset.score });
  const answer = await fetch(`details?${query}`).catch(() => null);
  dialog.innerHTML = answer?.ok
    ? await answer.text()
    : '<article><button class="close" type="button" data-close aria-label="Close">×</button>' +
      '<p class="notice error" role="alert">The details of this item cannot be shown; is the server still running?</p></article>';
  dialog.showModal();
};

element.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-open], [data-like], [data-close], [data-exact], [data-apply]");
  if (event.target === dialog || pressed?.hasAttribute("data-close")) {
    dialog.close();
  } else if (pressed?.hasAttribute("data-apply")) {
    trigger("apply", { text: pressed.dataset.text });
  } else if (pressed?.hasAttribute("data-open")) {
    showDetails(pressed.closest("[data-id]"));
  } else if (pressed?.hasAttribute("data-exact")) {
    trigger("retry", { text: pressed.dataset.text });
  } else if (pressed?.hasAttribute("data-like")) {
    dialog.close();
    trigger("like", { id: pressed.closest("[data-id]").dataset.id });
    element.scrollIntoView({ block: "start", behavior: "smooth" });
  }
});

dialog.addEventListener("close", () => dialog.querySelector("audio")?.pause());

// A thumbnail that cannot be made uncovers the card with the title beneath it. Errors of pictures do not bubble.
element.addEventListener("error", (event) => {
  if (event.target.tagName === "IMG") event.target.remove();
}, true);

watch("value", render);
render();
