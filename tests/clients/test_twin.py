"""A twin is its original to whoever asks (type, state, equality, copies), but for the methods it has of its own."""

from __future__ import annotations

import abc
import copy
import dataclasses
import gc
import inspect
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import pytest

from streamgauge.clients._twin import original, twin

T = TypeVar("T")


class Plain:
    """An agent."""

    kind = "plain"

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.asked = 0

    def stream(self, text: str) -> Iterator[str]:
        self.asked += 1
        yield from text

    def run(self, text: str) -> list[str]:
        return list(self.stream(text))

    @property
    def shout(self) -> str:
        return self.name.upper()

    @classmethod
    def made(cls, name: str) -> Plain:
        return cls(name)

    @staticmethod
    def one() -> int:
        return 1

    def clone(self, **changes: Any) -> Plain:
        return type(self)(**{"name": self.name, **changes})


class Base:
    __slots__ = ("__secret", "name")

    def __init__(self, name: str = "a") -> None:
        self.name = name
        self.__secret = 1

    def stream(self, text: str) -> Iterator[str]:
        yield from text

    def tell(self) -> int:
        self.__secret += 1
        return self.__secret


class Slotted(Base):
    __slots__ = ("late", "mixed")

    def __init__(self, name: str = "a") -> None:
        super().__init__(name)
        self.mixed = 0


class Mixed(Base):
    """Slots below, a `__dict__` and one slot in text form above."""

    __slots__ = "single"

    def __init__(self, name: str = "a") -> None:
        super().__init__(name)
        self.single = 1


class WithDict(Base):
    def __init__(self, name: str = "a") -> None:
        super().__init__(name)
        self.more = [1]


@dataclasses.dataclass
class Data:
    name: str = "a"
    parts: list[int] = dataclasses.field(default_factory=list)

    def stream(self, text: str) -> Iterator[str]:
        yield from text


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str = "a"

    def stream(self, text: str) -> Iterator[str]:
        yield from text


class Abstract(abc.ABC):
    @abc.abstractmethod
    def stream(self, text: str) -> Iterator[str]: ...


class Concrete(Abstract):
    def __init__(self, name: str = "a") -> None:
        self.name = name

    def stream(self, text: str) -> Iterator[str]:
        yield from text


class Made(type):
    """A metaclass that keeps a list."""

    classes: list[str] = []  # noqa: RUF012

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Made:
        cls.classes.append(name)
        return super().__new__(cls, name, bases, body)


class WithMeta(metaclass=Made):
    def __init__(self, name: str = "a") -> None:
        self.name = name

    def stream(self, text: str) -> Iterator[str]:
        yield from text


class Typed(Generic[T]):
    def __init__(self, name: str = "a") -> None:
        self.name = name

    def stream(self, text: str) -> Iterator[str]:
        yield from text


class Guarded:
    """It lets nobody set or get what it does not know."""

    def __init__(self, name: str = "a") -> None:
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} is read-only")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("any_"):
            return name
        raise AttributeError(name)

    def stream(self, text: str) -> Iterator[str]:
        yield from text


KINDS: list[type[Any]] = [
    Plain, Base, Slotted, Mixed, WithDict, Data, Frozen, Concrete, WithMeta, Typed, Guarded,
]  # fmt: skip


def watched(obj: Any, told: list[str] | None = None) -> Any:
    """A twin that notes what is streamed."""

    def stream(self: Any, text: str) -> Iterator[str]:
        if told is not None:
            told.append(text)
        return type(obj).stream(self, text)  # type: ignore[no-any-return]

    return twin(obj, {"stream": stream})


def state(obj: Any) -> dict[str, Any]:
    slots = [slot for base in type(obj).__mro__ for slot in copy_slots(base)]
    return {**getattr(obj, "__dict__", {}), **{slot: getattr(obj, slot) for slot in slots if hasattr(obj, slot)}}


def copy_slots(base: type) -> list[str]:
    slots = base.__dict__.get("__slots__", ())
    return [each for each in ([slots] if isinstance(slots, str) else slots) if not each.startswith("_")]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_is_of_the_same_type(kind: type[Any]) -> None:
    obj = kind("b")
    double = watched(obj)
    assert double is not obj
    assert isinstance(double, kind)
    assert issubclass(type(double), kind)
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(type(double), name) == getattr(kind, name)
    assert type(type(double)) is type(kind)
    assert isinstance(double, kind.__mro__[-2])
    assert dir(double) == sorted({*dir(obj), "_twin_of", "__slots__"} | set(dir(type(double))))
    assert inspect.signature(type(double).__init__) == inspect.signature(kind.__init__)
    assert [type(obj), type(original(double))] == [kind, kind], "the original is left as it is"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_its_method_is_its_own_and_the_originals_is_left(kind: type[Any]) -> None:
    told: list[str] = []
    obj = kind()
    double = watched(obj, told)
    assert list(obj.stream("ab")) == ["a", "b"]
    assert told == []
    assert list(double.stream("cd")) == ["c", "d"]
    assert told == ["cd"]
    assert kind.stream is not type(double).stream


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_its_state_is_the_originals(kind: type[Any]) -> None:
    obj = kind("b")
    double = watched(obj)
    assert double.name == "b"
    assert state(double) == state(obj)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in (Data, Frozen, Guarded)], ids=lambda kind: kind.__name__
)
def test_what_one_sets_the_other_has(kind: type[Any]) -> None:
    obj = kind("b")
    double = watched(obj)
    double.name = "c"
    assert obj.name == "c"
    obj.name = "d"
    assert double.name == "d"
    del double.name
    for each in (obj, double):
        with pytest.raises(AttributeError):
            each.name  # noqa: B018
    obj.name = "e"
    assert double.name == "e"


@pytest.mark.parametrize("kind", [Plain, WithDict, Data, Concrete, WithMeta, Typed], ids=lambda kind: kind.__name__)
def test_what_is_new_is_shared_too(kind: type[Any]) -> None:
    obj = kind()
    double = watched(obj)
    double.fresh = 1
    assert obj.fresh == 1
    obj.other = 2
    assert double.other == 2
    assert vars(double) is vars(obj)


def test_a_slot_that_is_empty_is_empty_in_both() -> None:
    obj = Slotted()
    double = watched(obj)
    assert not hasattr(double, "late")
    obj.late = 1
    assert double.late == 1
    del double.late
    assert not hasattr(obj, "late")


def test_a_private_slot_is_shared() -> None:
    obj = Slotted()
    double = watched(obj)
    assert [double.tell(), obj.tell(), double.tell()] == [2, 3, 4]


@pytest.mark.parametrize("kind", [Frozen, Guarded], ids=lambda kind: kind.__name__)
def test_what_cannot_be_set_cannot_be_set(kind: type[Any]) -> None:
    double = watched(kind("b"))
    with pytest.raises(AttributeError):
        double.name = "c"
    assert double.name == "b"


def test_attributes_made_on_demand() -> None:
    double = watched(Guarded())
    assert double.any_thing == "any_thing"
    with pytest.raises(AttributeError, match=r"^other$"):
        double.other  # noqa: B018


# Methods ----------------------------------------------------------------------------------------------------------


def test_what_its_own_code_calls_is_its_own() -> None:
    told: list[str] = []
    obj = Plain()
    double = watched(obj, told)
    assert double.run("ab") == ["a", "b"]
    assert told == ["ab"]
    assert obj.asked == double.asked == 1
    assert obj.run("cd") == ["c", "d"]
    assert told == ["ab"]


def test_super_and_the_original_class_are_reached() -> None:
    obj = Plain()
    by_super = twin(obj, {"stream": lambda self, text: super(type(self), self).stream(text * 2)})
    assert list(by_super.stream("a")) == ["a", "a"]
    assert obj.asked == 1


def test_properties_class_and_static_methods() -> None:
    methods: dict[str, Any] = {
        "shout": property(lambda self: f"{self.name}!"),
        "one": staticmethod(lambda: 2),
        "kind_of": classmethod(lambda cls: cls.kind),
    }
    double: Any = twin(Plain("b"), methods)
    assert (double.shout, double.one(), double.kind_of(), double.kind) == ("b!", 2, "plain", "plain")
    assert (watched(Plain("b")).shout, watched(Plain()).one()) == ("B", 1)


def test_a_class_method_makes_a_twin() -> None:
    told: list[str] = []
    made = watched(Plain("b"), told).made("c")
    assert (made.name, list(made.stream("x")), told) == ("c", ["x"], ["x"])
    assert type(original(made)) is Plain


def test_a_method_on_the_instance_hides_the_twins() -> None:
    """As it would hide the class's: who set it wanted it."""
    obj = Plain()
    obj.stream = lambda text: iter([text])  # type: ignore[method-assign]
    assert list(watched(obj).stream("ab")) == ["ab"]


# Copies -----------------------------------------------------------------------------------------------------------

COPIES: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]


@pytest.mark.parametrize("again", COPIES, ids=lambda again: again.__name__)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Guarded], ids=lambda kind: kind.__name__)
def test_a_copy_is_a_twin_of_a_copy(kind: type[Any], again: Callable[[Any], Any]) -> None:
    told: list[str] = []
    obj = kind("b")
    double = watched(obj, told)
    copied = again(double)
    assert copied is not double
    assert isinstance(copied, kind)
    assert original(copied) is not obj
    assert type(original(copied)) is kind
    assert copied.name == "b"
    assert list(copied.stream("x")) == ["x"]
    assert told == ["x"]
    if kind is not Frozen:
        copied.name = "c"
        assert (obj.name, double.name) == ("b", "b")


def test_a_deep_copy_is_deep_and_a_shallow_one_is_not() -> None:
    obj = Data(parts=[1])
    double = watched(obj)
    assert copy.copy(double).parts is obj.parts
    assert copy.deepcopy(double).parts is not obj.parts
    both = copy.deepcopy([double, double])
    assert both[0] is both[1], "the memo holds"


@pytest.mark.parametrize("kind", [Data, Frozen], ids=lambda kind: kind.__name__)
def test_a_replaced_one_is_a_twin(kind: type[Any]) -> None:
    told: list[str] = []
    double = watched(kind("b"), told)
    changed = dataclasses.replace(double, name="c")
    assert (changed.name, double.name, list(changed.stream("x")), told) == ("c", "b", ["x"], ["x"])
    assert type(original(changed)) is kind


def test_what_makes_another_of_its_type_is_called_once() -> None:
    made: list[str] = []

    class Counted(Plain):
        def __init__(self, name: str = "a") -> None:
            super().__init__(name)
            made.append(name)

    told: list[str] = []
    cloned = watched(Counted("b"), told).clone(name="c")
    assert made == ["b", "c"]
    assert (cloned.name, list(cloned.stream("x")), told) == ("c", ["x"], ["x"])


def test_again_makes_the_twin_of_another() -> None:
    told: list[Any] = []

    def wrap(obj: Plain) -> Plain:
        def stream(self: Any, text: str) -> Iterator[str]:
            told.append(obj)
            return Plain.stream(self, text)

        return twin(obj, {"stream": stream}, again=wrap)

    first = wrap(Plain("b"))
    for other in (copy.copy(first), copy.deepcopy(first), first.clone(name="c")):
        assert list(other.stream("x")) == ["x"]
        assert told.pop() is original(other) is not original(first)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [Plain, Data, Concrete], ids=lambda kind: kind.__name__)
def test_pickled_it_is_the_original(
    kind: type[Any], protocol: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setitem(sys.modules, kind.__module__, request.module)
    back = pickle.loads(pickle.dumps(watched(kind("b")), protocol))
    assert type(back) is kind
    assert back.name == "b"


# Equality and lifetime --------------------------------------------------------------------------------------------


def test_it_equals_what_its_original_equals() -> None:
    obj, other, same = Data("b"), Data("c"), Data("b")
    double = watched(obj)
    assert double == obj == double == same
    assert double == watched(same)
    assert double != other
    assert double != watched(other)
    with pytest.raises(TypeError, match="unhashable"):
        hash(double)
    assert hash(watched(Frozen("b"))) == hash(Frozen("b"))
    assert {Frozen("b"): 1}[watched(Frozen("b"))] == 1


def test_without_an_equality_of_its_own_it_is_another_object() -> None:
    obj = Plain()
    double = watched(obj)
    assert (double == obj, double == double, len({obj, double})) == (False, True, 2)


def test_the_original_lives_as_long_as_the_twin() -> None:
    obj = Plain()
    there = weakref.ref(obj)
    double = watched(obj)
    del obj
    gc.collect()
    assert there() is original(double)
    double_there = weakref.ref(double)
    del double
    gc.collect()
    assert (there(), double_there()) == (None, None)


def test_it_ends_once() -> None:
    ended: list[str] = []

    class Ending(Plain):
        def __del__(self) -> None:
            ended.append(self.name)

    obj = Ending("b")
    double = watched(obj)
    del double
    gc.collect()
    assert ended == []
    del obj
    gc.collect()
    assert ended == ["b"]


def test_the_original_of_anything() -> None:
    obj = Plain()
    double = watched(obj)
    assert original(double) is obj
    assert original(watched(double)) is double, "of a twin's twin, the twin"
    assert [original(each) for each in (obj, None, 3, Plain)] == [obj, None, 3, Plain]


def test_a_twin_of_a_twin() -> None:
    told: list[str] = []
    obj = Plain("b")
    double = watched(watched(obj, told), told)
    assert list(double.stream("x")) == ["x"]
    assert told == ["x", "x"]
    double.name = "c"
    assert obj.name == "c"


@pytest.mark.parametrize("obj", [True, None, range(3), len], ids=repr)
def test_what_cannot_be_subclassed_is_told(obj: Any) -> None:
    with pytest.raises(TypeError):
        twin(obj, {})
