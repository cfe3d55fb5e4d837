// The server explains a refusal in one line, which becomes the error's message.

export async function checked(answer) {
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

// As `fetch` and `checked`; also explains that there is no answer at all.
export async function request(url, options) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new Error("There is no answer: has `tsfd view` been ended? Start it again, and open the address it prints.");
  }
  return checked(answer);
}
