"""LLM2Vec's prompt: what the code of its published checkpoints puts around a text.

That is the package llm2vec, in version 0.2.3. It asks for the name of the base model to
know the words of its chat, which are not always those of the model's chat template (there
may be a system message in it, or the beginning of an answer). So the four kinds are kept
here by the names that it knows.
"""

from sklearn_llm2vec._text.templates import escaped

MISTRAL = "[INST] ", " [/INST]"
QWEN2 = "<|im_start|>user\n", "<|im_end|>"
# Name of a base model -> the words before and behind a text.
CHATS = {
    "meta-llama/Meta-Llama-3-8B-Instruct": (
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "mistralai/Mistral-7B-Instruct-v0.2": MISTRAL,
    "meta-llama/Llama-2-7b-chat-hf": MISTRAL,
    "google/gemma-2-9b-it": ("<bos><start_of_turn>user\n", "<end_of_turn>"),
    "Qwen/Qwen2-1.5B-Instruct": QWEN2,
    "Qwen/Qwen2-7B-Instruct": QWEN2,
}
# Of `max_length` a text itself takes no more than this: 400 tokens of 512.
SHARE = 400, 512


def llm2vec_template(instruction, names):
    """The template of LLM2Vec's prompt.

    Parameters
    ----------
    instruction : str
        "" for none, as for passages.
    names : iterable of str
        Names on the hub that the base model may have.

    Returns
    -------
    str

    Examples
    --------
    >>> from sklearn_llm2vec._text.llm2vec import llm2vec_template
    >>> llm2vec_template("Find duplicates:", ["mistralai/Mistral-7B-Instruct-v0.2"])
    '[INST] Find duplicates: {text} [/INST]'
    """
    before, behind = next((CHATS[name] for name in names if name in CHATS), ("", ""))
    if instruction.strip():
        before += instruction.strip() + " "
    return escaped(before) + "{text}" + escaped(behind)


def most_tokens(max_length):
    """Tokens that a text itself may have."""
    share, whole = SHARE
    return max_length * share // whole


def shortened(text, count, most):
    """A text without so many of its last words that it has `most` tokens.

    Parameters
    ----------
    text : str
    count : callable
        Tokens of a text.
    most : int

    Returns
    -------
    str
        The text itself where it is short enough; otherwise its words with one space
        between them.
    """
    while (n := count(text)) > most:
        words = text.split()
        text = " ".join(words[: int(len(words) * (most / n))])
    return text
