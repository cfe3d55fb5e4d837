// The server explains a refusal in one line, which becomes the error's message; `status` is HTTP's.

export async function checked(answer) {
  if (!answer.ok && answer.status !== 304) {
    throw Object.assign(new Error(await answer.text()), { status: answer.status });
  }
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
