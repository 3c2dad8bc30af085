// Questions to the kernel and its answers, matched by id. A question is never sent twice: a label that the
// kernel stores late must not become two steps. While an answer is overdue, `onWait(true)` says so.

const OVERDUE = 2500; // ms

/** Open the channel of one view; several views of a model each have their own ids. */
export function openChannel(model, onWait) {
  const prefix = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
  const open = new Map();
  let count = 0;
  let isOverdue = false;

  const look = () => {
    const oldest = Math.min(...[...open.values()].map((question) => question.asked));
    const now = open.size > 0 && performance.now() - oldest > OVERDUE;
    if (now !== isOverdue) {
      isOverdue = now;
      onWait(now);
    }
  };
  const timer = setInterval(look, 500);

  const receive = (content) => {
    const question = content && open.get(content.id);
    if (!question) return;
    open.delete(content.id);
    look();
    if (content.type === "error") question.refuse(new Error(content.error || "the kernel refused"));
    else question.answer(content);
  };
  model.on("msg:custom", receive);

  return {
    /** Ask, and promise the answer. It is refused when the kernel answers with an error. */
    ask(type, fields = {}) {
      count += 1;
      const id = `${prefix}-${count}`;
      return new Promise((answer, refuse) => {
        open.set(id, { answer, refuse, asked: performance.now() });
        try {
          model.send({ ...fields, type, id });
        } catch {
          // The comm is closed: the question stays open, and the view says that the kernel does not answer.
        }
      });
    },
    close() {
      clearInterval(timer);
      model.off("msg:custom", receive);
      open.clear();
    },
  };
}
