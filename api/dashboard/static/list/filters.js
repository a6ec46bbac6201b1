// The form of filters: a choice takes effect at once, and empty fields stay out of the address.

/** Lets the form of filters of this page work by itself. */
export function watchFilters() {
  const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-filters]"));
  if (form === null) return;
  for (const select of form.querySelectorAll("select[data-submits]")) {
    select.addEventListener("change", () => form.requestSubmit());
  }
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) {
      if (value !== "") continue;
      const others = formData.getAll(name).filter((one) => one !== "");
      formData.delete(name);
      others.forEach((one) => formData.append(name, one));
    }
  });
}
