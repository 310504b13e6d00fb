"""What people read, in Chinese and in English: one value, of which a language is chosen only when it is shown."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import msgspec


class Text(msgspec.Struct, frozen=True):
    zh: str
    en: str

    def __post_init__(self) -> None:
        # Adapters of others may give anything, as the error that they caught: it is made a text where it is given.
        for name in ("zh", "en"):
            given = getattr(self, name)
            if type(given) is not str:
                msgspec.structs.force_setattr(self, name, "" if given is None else str(given))

    def of(self, language: str) -> str:
        """Chinese for ``zh``, English for anything else."""
        return self.zh if language == "zh" else self.en

    @property
    def both(self) -> str:
        """Where nobody has chosen a language."""
        return self.zh if self.zh == self.en else f"{self.zh} / {self.en}"

    def __bool__(self) -> bool:
        return bool(self.en)


NOTHING = Text("", "")


def in_both(said: str | Text) -> Text:
    """`said`; a plain text, as adapters of others may give it, stands as it is in both languages."""
    return said if isinstance(said, Text) else Text(said, said)


def described(zh: str, en: str, **limits: Any) -> msgspec.Meta:
    """The `msgspec.Meta` of a setting that is described in both languages; `limits` are its own arguments."""
    return msgspec.Meta(description=en, extra={"zh": zh}, **limits)


def description_of(meta: msgspec.Meta) -> Text:
    """What `described` was given; a setting that is described in English only says so in both."""
    en = meta.description or ""
    return Text((meta.extra or {}).get("zh", en), en)


def system_reason(error: OSError) -> Text:
    """Why the operating system refused; what has no words here, in its own."""
    said = error.strerror or str(error) or type(error).__name__
    # The number of an ssl.SSLError is OpenSSL's; a pure module knows one by what only it has.
    known = "TLS 出错" if hasattr(error, "library") else _REASONS.get(error.errno or 0)
    return Text(f"{known}（{said}）" if known else said, said)


_REASONS: Mapping[int, str] = {
    errno.ENOENT: "没有这个文件或目录",
    errno.EACCES: "没有权限",
    errno.EPERM: "不允许",
    errno.EMFILE: "打开的文件太多，调高 ulimit -n",
    errno.ENFILE: "整台机器打开的文件太多",
    errno.ELOOP: "符号链接绕成了圈",
    errno.ENAMETOOLONG: "文件名太长",
    errno.EDQUOT: "磁盘配额已满",
    errno.EIO: "磁盘读写出错",
    errno.EISDIR: "是目录，不是文件",
    errno.ENOTDIR: "路径中有一段不是目录",
    errno.EROFS: "只读文件系统",
    errno.ENOSPC: "磁盘已满",
    errno.EADDRINUSE: "地址已被占用",
    errno.EADDRNOTAVAIL: "本机没有这个地址",
    errno.ECONNREFUSED: "连接被拒绝",
    errno.ECONNRESET: "连接被对方断开",
    errno.EHOSTUNREACH: "主机不可达",
    errno.ENETUNREACH: "网络不可达",
    errno.ETIMEDOUT: "连接超时",
    # Looking up a name (EAI_NONAME, EAI_AGAIN, EAI_NODATA of glibc).
    -2: "没有这个主机名",
    -3: "域名暂时解析不了",
    -5: "没有这个主机名",
}
