"""Parse and check the answers of LLMs, including those that are cut off, refused or unreadable."""

from ecgvf.core.concepts import Concept, SurrogateChoice
from ecgvf.llm.attempt import Attempt
from ecgvf.pairs.answers import read_answer
from ecgvf.pairs.parsing import Draft, unparsed

REPAIR = "You were asked this before, and your answer could not be used"
"""How the text begins that a repair adds to the request."""

_FAULTS = {"refusal": "refused", "filter": "stopped by the content filter", "empty": "empty answer"}


class AnswerReader:
    """Parses and checks answers, each once."""

    def __init__(self, concept: Concept, language: str | None, surrogate_choice: SurrogateChoice) -> None:
        self._concept, self._language, self.surrogate_choice = concept, language, surrogate_choice
        self._drafts: dict[str, list[Draft]] = {}

    def drafts(self, answered: Attempt) -> list[Draft]:
        """The checked drafts of an answer; an answer without any is one unparsed draft."""
        if answered.call not in self._drafts:
            self._drafts[answered.call] = self._read(answered)
        return self._drafts[answered.call]

    def _read(self, answered: Attempt) -> list[Draft]:
        reply, intent = answered.reply, answered.intent
        if reply.outcome not in ("complete", "length"):
            fault = _FAULTS.get(reply.outcome, "the answer is not in the provider's format")
            fault += f": {reply.why}" if reply.why else ""
            return [unparsed(fault, reply.text or answered.raw)]
        prompt = intent["request"]["prompt"]
        if intent["repair"]:  # what it quotes of the answer before is no part of the request
            prompt = prompt.partition(f"\n{REPAIR}")[0]
        drafts = read_answer(
            self._concept,
            reply.text,
            intent["split"],
            self._language,
            prompt=prompt,
            surrogate_choice=self.surrogate_choice,
        )
        if reply.outcome == "length":  # the drafts before the cut are good
            drafts = [
                draft if draft.parsed else unparsed(f"cut off at the token limit: {draft.fault}", draft.raw)
                for draft in drafts
            ]
        return drafts
