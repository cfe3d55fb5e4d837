// What this browser keeps, as JSON.

// What is kept under a key; null if there is nothing, or something that another program has damaged.
export function stored(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}
