// What the server refuses it explains in a line, which becomes the error.

export async function checked(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
