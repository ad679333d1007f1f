/** How many words `text` has. Words are separated by white space. */
export function countWords(text) {
  return text.split(" ").length;
}
