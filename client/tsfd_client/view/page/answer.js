// The server explains a refusal in one line, which becomes the error's message.

export async function checked(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}
