"""The whole job on Janus-nano: from a concept to an erased model and its figures. Some minutes on two cores.

Run it from the repository, in the environment of `make quickstart`:

    python examples/church.py
"""

import ear
import ecgvf


# `ear.evaluate` measures 100 prompts of the concept and 3 of each retained concept unless it is given other numbers.
def main(
    pairs: int = 60, validation: int = 100, tests: int = 100, prompts: int = 64, others: int = 8, **options: int
) -> ear.Evaluation:
    run = ecgvf.Run("church")
    run.generate(pairs=pairs, validation=validation, tests=tests)  # pairs for training and validation, and test prompts
    run.render()  # images of both prompts of each pair, from one seed
    print(run.filter())  # verdicts; pairs accepted or rejected, with reasons
    dataset = run.dataset()

    adapter = ear.train(dataset, options=options)
    evaluation = ear.evaluate(dataset, adapter, prompts_per_concept=prompts, prompts_per_other=others)
    print(evaluation)
    print("Contact sheet:", evaluation.save_contact_sheet(adapter.path / "sheet.png"))
    return evaluation


if __name__ == "__main__":
    main()
