"use strict";
{
  const form = document.getElementById("sample-filter");
  const rows = [...document.querySelectorAll("#sample-table tbody tr")];
  const show = () => {
    const fate = form.elements.fate.value;
    const word = form.elements.word.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const { fates, number, class: name } = row.dataset;
      const fits = (fate === "" || fates.split(" ").includes(fate)) && (word === "" || number === word || name.includes(word));
      row.hidden = !fits;
      count += fits;
    }
    form.querySelector("output").textContent = `${count} of ${rows.length} images`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
