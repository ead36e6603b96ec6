"""The diagram: what is drawn, that picture and words agree, and that two runs draw the same."""

import re
from dataclasses import replace
from html import unescape
from itertools import combinations, permutations
from xml.etree import ElementTree

import pytest
from histories import history
from hypothesis import given
from hypothesis import strategies as st

from chatlab.history.diagram import Diagram
from chatlab.history.events import AT_A_SERVER, SERVER, Event, History

FAULTS = ("lost", "again", "late", "refused")
IN_WORDS = {
    "lost": "never gets|is lost",
    "again": "again",
    "late": "late",
    "refused": "is refused",
    "catch-up": "catches up on",
}


def sent(who, number, text, *tabs):
    """The events of a message that is sent, acknowledged, and shown by some tabs."""
    message = f"{number} {text}"
    return [
        f"send {who} {text}",
        f"acknowledge {who} {message}",
        *(f"show {tab} {message}" for tab in tabs),
    ]


def looks(diagram):
    """The classes of all lines and marks of the picture, from the first drawn to the last."""
    return re.findall('<(?:line|circle) class="([a-z-]+)"', diagram.svg)


def words(diagram):
    """The words in the picture."""
    return [unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", diagram.svg)]


JOINED = ["join ann", "join bob", *sent("ann", 1, "hello", "ann", "bob")]
AWAY = [*JOINED, "drop bob", *sent("ann", 2, "are you there?", "ann")]


def test_message_that_all_see_is_drawn_as_arrows_through_the_server():
    """One arrow to the server, which gives the offset, and one to each tab."""
    diagram = Diagram(history(*JOINED))
    assert str(diagram).splitlines() == [
        "   ann                      server    bob",
        "1  joins",
        "2                                     joins",
        '3  sends "hello"; shows it  offset 1  shows it',
    ]
    assert looks(diagram).count("live") == 3
    drawn = ["ann", "server", "bob", "joins", "joins", "hello", "1", "1", "2", "3"]
    assert words(diagram) == drawn
    assert diagram.summary == "Space-time diagram of ann, bob and the server: 1 message sent."


def test_message_to_a_dropped_tab_is_drawn_as_lost():
    """Nothing brings it later: an arrow that does not get there, and the line of bob is dashed."""
    diagram = Diagram(history(*AWAY, "reconnect bob"))
    assert str(diagram).splitlines()[5].split("  ")[-1] == "(lost)"
    assert looks(diagram).count("lost") == words(diagram).count("lost") == 1
    assert looks(diagram).count("down") == 1
    assert 'bob drops once; bob never gets 2 "are you there?".' in diagram.summary


def test_message_that_comes_after_a_reconnection_is_drawn_as_catch_up():
    """It arrives in the step of the reconnection, and is not lost."""
    diagram = Diagram(history(*AWAY, "reconnect bob", "show bob 2 are you there?"))
    assert str(diagram).splitlines()[-1].split() == ["6", "reconnects;", "catch-up:", "2"]
    assert looks(diagram).count("catch-up") == words(diagram).count("catch-up: 2") == 1
    assert "lost" not in looks(diagram)
    assert 'bob catches up on 2 "are you there?"' in diagram.summary


@pytest.mark.parametrize(("kind", "words"), [("gap", "is told of a gap"), ("reset", "begins anew")])
def test_message_that_follows_on_what_a_tab_is_told_is_drawn_after_it(kind, words):
    """First the server says how what it has fits the tab, and then it sends that."""
    away = [*AWAY, *sent("ann", 3, "hello?", "ann"), "reconnect bob"]
    diagram = Diagram(history(*away, f"{kind} bob 2 -", "show bob 3 hello?"))
    rows = [row.split("  ")[-1] for row in str(diagram).splitlines()]
    assert rows[5:] == [
        "(deleted)" if kind == "gap" else "(lost)",
        "offset 3",
        "reconnects",
        f"{words}; catch-up: 3",
    ]
    assert f'bob {words} once; bob catches up on 3 "hello?"' in diagram.summary


def test_message_shown_again_after_a_reload_is_catch_up_and_no_duplicate():
    """A page that was loaded anew shows nothing, so nothing can be there twice."""
    diagram = Diagram(history(*JOINED, "reload bob", "show bob 1 hello"))
    assert "reloads; catch-up: 1" in str(diagram)
    assert "again" not in looks(diagram)


def test_message_shown_twice_on_one_page_is_drawn_as_a_duplicate():
    """It ends in a ring, with the word again."""
    diagram = Diagram(history(*JOINED, "drop bob", "reconnect bob", "show bob 1 hello"))
    assert "reconnects; again: 1" in str(diagram)
    assert looks(diagram).count("again") == words(diagram).count("again: 1") == 1
    assert 'bob gets 1 "hello" again' in diagram.summary


def test_message_shown_below_a_later_one_is_drawn_as_late():
    """The offsets on the page go down: a diamond, with the word late."""
    events = [*AWAY, *sent("ann", 3, "live", "ann"), "reconnect bob"]
    diagram = Diagram(history(*events, "show bob 3 live", "show bob 2 are you there?"))
    assert "reconnects; catch-up: 3; late: 2" in str(diagram)
    assert looks(diagram).count("late") == words(diagram).count("late: 2") == 1
    assert 'bob gets 2 "are you there?" late' in diagram.summary


def test_refused_message_is_drawn_up_to_the_server():
    """The arrow ends in a bar, and nothing comes back."""
    diagram = Diagram(history("join ann", "send ann hello", "refuse ann hello"))
    assert str(diagram).splitlines()[-1] == '2  sends "hello" (refused)'
    assert looks(diagram).count("refused") == words(diagram).count("refused") == 1
    assert "live" not in looks(diagram)
    assert 'ann sends "hello", which is refused' in diagram.summary


def test_message_that_is_written_offline_is_drawn_when_it_is_sent():
    """At first there is no arrow, and the words say that it was written."""
    events = ["join ann", "drop ann", "send ann hi", "reconnect ann", "retry ann hi"]
    diagram = Diagram(history(*events, "acknowledge ann 1 hi", "show ann 1 hi"))
    assert 'writes "hi" (waits)' in str(diagram)
    assert 'sends "hi"; shows it' in str(diagram)
    assert 'writes "hi"' in words(diagram)
    assert looks(diagram).count("live") == 2
    assert "lost" not in diagram.summary


def test_message_that_is_sent_again_is_drawn_again():
    """Lost at first, then with its offset; or known already, with the offset that it has."""
    events = ["send ann hi", "drop ann", "reconnect ann", "retry ann hi", "acknowledge ann 1 hi"]
    lost = Diagram(history("join ann", *events, "show ann 1 hi"))
    assert 'sends "hi" (lost)' in str(lost)
    assert re.search(r'sends "hi" again; shows it +offset 1$', str(lost), re.MULTILINE)
    assert "1 message sent" in lost.summary
    known = Diagram(history("join ann", "join bob", events[0], "show bob 1 hi", *events[1:]))
    assert re.search(r'sends "hi" again +offset 1 again$', str(known), re.MULTILINE)
    assert "1 again" in words(known)
    assert "is lost" not in known.summary


def test_message_without_an_answer_that_nobody_saw_is_drawn_as_lost():
    """It left the tab and never arrived."""
    diagram = Diagram(history("join ann", "send ann hello"))
    assert str(diagram).splitlines()[-1] == '2  sends "hello" (lost)'
    assert looks(diagram).count("lost") == 1


def test_stopped_server_and_closed_tab_end_or_interrupt_their_lines():
    """The line of a stopped server is dashed; that of a closed tab ends in a bar."""
    diagram = Diagram(history("join ann", "stop server", "start server", "close ann"))
    assert looks(diagram).count("down") == 1
    assert looks(diagram).count("end") == 1
    assert [word for word in words(diagram) if word.endswith("s")] == [
        "joins", "stops", "starts", "closes"
    ]  # fmt: skip
    assert "the server stops once" in diagram.summary


def test_killed_server_interrupts_its_line():
    """The table, the picture and the sentence tell a server that is killed from one that stops."""
    diagram = Diagram(history("join ann", "kill server", "start server"))
    assert "is killed" in str(diagram)
    assert looks(diagram).count("down") == 1
    assert "is killed" in words(diagram)
    assert "the server is killed once" in diagram.summary


def test_empty_history_is_drawn():
    """A lab in which nothing has happened yet has a server."""
    diagram = Diagram(History())
    assert str(diagram).strip() == SERVER
    assert "nobody" in diagram.summary
    ElementTree.fromstring(diagram.svg)


def test_tab_that_needs_two_attempts_to_reconnect_is_drawn_once():
    """An attempt that failed is no event of its own: the same words are not written twice."""
    diagram = Diagram(history(*AWAY, "reconnect bob", "reconnect bob"))
    assert words(diagram).count("reconnects") == str(diagram).count("reconnects") == 1


def test_catch_up_by_a_long_text_has_a_label_that_fits():
    """Without an offset the text names the message, and the whole label is cut."""
    text = "a text that is far too long"
    diagram = Diagram(history("join ann", f"send ann {text}", "join bob", f"show bob {text}"))
    assert 'catch-up: "a text that…' in words(diagram)


def test_tabs_that_drop_with_the_server_are_drawn_alike_in_any_order():
    """Which tab notices first that the server is gone, or is back, is chance."""
    names = ("ann", "bob", "carol")
    drawn = {
        Diagram(
            history(
                *(f"join {name}" for name in names),
                "stop server",
                *(f"drop {name}" for name in drops),
                "start server",
                *(f"reconnect {name}" for name in returns),
            )
        ).svg
        for drops in permutations(names)
        for returns in permutations(names)
    }
    assert len(drawn) == 1


# Histories as they can happen, and all the orders in which one process can record them.

NAMES = ("ann", "bob", "carol", "dave")
chances = st.randoms(use_true_random=False)


class World:
    """Events, and for each the events that must have happened before it."""

    def __init__(self, numbered):
        self.numbered = numbered
        self.events = []
        self.causes = []
        self.last = {}  # who -> its last event; "action" and (who, "answer") likewise
        self.log = []  # the event that sent it, the text, the offset
        self.joined, self.up = set(), set()

    def add(self, event, *lines, causes=()):
        before = {self.last[line] for line in lines if line in self.last}
        self.events.append(event)
        self.causes.append(before | set(causes))
        self.last |= dict.fromkeys(lines, len(self.events) - 1)

    def act(self, kind, who, luck):
        """Let someone do something, if it is possible now. `luck` chooses what comes of it."""
        if kind in ("stop", "kill", "start"):
            self.add(Event(kind, SERVER), "action")
        elif kind == "send" and who in self.up:
            self.send(who, luck)
        elif kind in ("drop", "close") and who in self.up:
            self.add(Event(kind, who), "action", who)
            self.up.discard(who)
            self.joined -= {who} if kind == "close" else set()
        elif kind in ("join", "reconnect", "reload") and (kind == "join") != (who in self.joined):
            self.add(Event(kind, who), "action", who)
            self.up.add(who)
            self.joined.add(who)
            for row in ([], self.log[-2:], self.log, self.log[::-1])[luck]:
                self.show(who, *row)

    def new_text(self):
        return f"message {len(self.events)}"

    def send(self, who, luck):
        text = self.new_text()
        self.add(Event("send", who, text), "action", who)
        row = len(self.events) - 1, text, len(self.log) + 1 if self.numbered else None
        if luck == 3:
            return
        answer = Event("refuse", who, text) if luck == 2 else Event("acknowledge", who, *row[1:])
        self.add(answer, (who, "answer"), causes=[row[0]])
        if luck < 2:
            self.log.append(row)
            for tab in sorted(self.up - ({who} if luck else set())):
                self.show(tab, *row)

    def show(self, who, send, text, offset):
        self.add(Event("show", who, text, offset), who, causes=[send])

    def heard(self, random):
        """Return a history in one of the orders in which it can be heard of."""
        recorded, done = History(), set()
        while len(done) < len(self.events):
            ready = [
                number
                for number, causes in enumerate(self.causes)
                if number not in done and causes <= done
            ]
            number = random.choice(ready)
            done.add(number)
            event = self.events[number]
            recorded.record(event.kind, event.who, event.text, event.offset)
        return recorded


def spread(world, servers, random):
    """Let each connection of a world, and each end of a server, be at one of several servers."""
    for number, event in enumerate(world.events):
        if event.kind in AT_A_SERVER:
            name = f"{SERVER} {random.randrange(servers)}"
            world.events[number] = replace(event, text=name)


@st.composite
def worlds(draw):
    """A world in which things happened: mostly messages, sent, lost, caught up on, repeated."""
    kinds = (
        "send",
        "send",
        "drop",
        "reconnect",
        "reload",
        "join",
        "close",
        "stop",
        "kill",
        "start",
    )
    step = st.tuples(st.sampled_from(kinds), st.sampled_from(NAMES), st.integers(0, 3))
    world = World(draw(st.booleans()))
    for name in NAMES[: draw(st.integers(1, 3))]:
        world.act("join", name, 0)
        world.act("send", name, draw(st.integers(0, 1)))
    for happening in draw(st.lists(step, max_size=12)):
        world.act(*happening)
    if draw(st.booleans()):
        spread(world, 3, draw(chances))
    return world


@given(worlds(), chances, chances)
def test_order_in_which_tabs_are_heard_of_changes_nothing(world, one, other):
    """Two runs record the same events in different orders, and give the same output to the byte."""
    first, second = Diagram(world.heard(one)), Diagram(world.heard(other))
    assert first._repr_mimebundle_() == second._repr_mimebundle_()


def test_order_of_actions_changes_the_picture():
    """The control: what may not be exchanged is seen."""
    one = Diagram(history("join ann", "join bob", "send ann hello", "drop bob"))
    other = Diagram(history("join ann", "join bob", "drop bob", "send ann hello"))
    assert one.svg != other.svg


@given(worlds(), chances)
def test_picture_and_table_tell_the_same(world, random):
    """Every fault and every catch-up of the table is in the picture, as a shape and as a word."""
    diagram = Diagram(world.heard(random))
    arrivals = [
        arrival for step in diagram.steps for tab in step.arrivals.values() for arrival in tab
    ]
    for how in (*FAULTS, "catch-up"):
        count = sum(arrival.how == how for arrival in arrivals)
        count += sum(step.fate == how for step in diagram.steps if step.is_send)
        assert looks(diagram).count(how) == count
        assert sum(word.split(":")[0] == how for word in words(diagram)) == count
        assert (how in str(diagram)) == bool(count)
        assert bool(re.search(IN_WORDS[how], diagram.summary)) == bool(count)


@given(worlds(), chances)
def test_words_never_overlap(world, random):
    """Each text of the picture has its room, inside the picture."""
    boxes = text_boxes(Diagram(world.heard(random)).svg)
    for one, other in combinations(boxes, 2):
        left, right = max(one[0], other[0]), min(one[2], other[2])
        top, bottom = max(one[1], other[1]), min(one[3], other[3])
        assert left >= right or top >= bottom, (one, other)


def text_boxes(svg):
    """Estimate where each text is: left, top, right, bottom, in pixels."""
    boxes = []
    for element in ElementTree.fromstring(svg).iter():
        if element.tag.endswith("}text"):
            x, y, width = int(element.get("x")), int(element.get("y")), 7 * len(element.text)
            if element.get("class") in ("name", "offset"):
                x -= width // 2
            elif element.get("text-anchor") == "end":
                x -= width
            boxes.append((x, y - 10, x + width, y + 3, element.text))
    return boxes


def test_what_the_server_tells_is_in_the_picture_and_in_words():
    """A page that begins anew, and one that does without."""
    drawn = Diagram(history("join ann", "join bob", "drop bob", "reconnect bob", "reset bob",
                            "gap ann"))  # fmt: skip
    for words in ("begins anew", "is told of a gap"):
        assert words in str(drawn) and words in drawn.svg


def test_message_under_way_stops_short_and_is_no_fault():
    """It is for a reader who looks while it happens: the picture and the table say so."""
    diagram = Diagram(history("join ann", "join bob", "send ann hi"))
    assert "under way" not in diagram.svg
    diagram.steps[-1].fate = "under way"
    assert 'class="under-way"' in diagram.svg
    assert 'class="fault"' not in diagram.svg
    assert 'sends "hi" (under way)' in str(diagram)
    assert "lost" not in diagram.summary


def test_part_of_a_long_history_is_around_its_first_fault():
    """The rest is one call away, and the numbers of the steps stay."""
    before = [one for number in range(1, 41) for one in sent("ann", number, "hi", "ann", "bob")]
    after = [one for number in range(42, 82) for one in sent("ann", number, "hi", "ann", "bob")]
    events = [*before, *sent("ann", 41, "x", "ann"), *after]
    diagram = Diagram(history("join ann", "join bob", *events))
    rows = str(diagram).splitlines()
    assert (rows[1].split()[0], rows[30].split()[0]) == ("23", "52")
    assert '43  sends "x"; shows it   offset 41  (lost)' in rows
    assert rows[31:] == ["53 of 83 steps are left out: diagram().whole() has all"]
    assert rows[31] in words(diagram)
    assert 'class="up"' in diagram.svg  # they joined in a step that is left out
    assert len(str(diagram.whole()).splitlines()) == 84


WORD = '<text x="(-?[0-9]+)"[^>]*?( text-anchor="end")?>([^<]*)<'


def test_words_at_the_edges_are_inside_the_picture():
    """In fonts that are wider than others, too: the picture grows with its words."""
    events = ["drop ann", f"write ann {'W' * 12}", "join bob", "gap bob 3"]
    diagram = Diagram(history("join ann", *events))
    [left, _, width, _] = map(int, re.search('viewBox="([^"]+)"', diagram.svg)[1].split())
    for x, anchor, text in re.findall(WORD, diagram.svg):
        reach = 0 if text in diagram.lanes else 9 * len(text)
        begin = int(x) - reach if anchor else int(x)
        assert left <= begin <= begin + reach <= left + width


ENDLESS = 20_000
SAYS_HELLO = ["join ann", "join bob", "send ann hello", "acknowledge ann hello"]


@pytest.mark.parametrize(
    "shown",
    [
        lambda number: "hello",
        lambda number: f"{number + 1} hello",
        lambda number: f"hello {number}",
    ],
    ids=["no offset", "offsets", "texts"],
)
def test_message_that_a_server_sends_for_ever_is_drawn_a_few_times(shown):
    """Picture, table and sentence say how many more there are; all of them are one call away."""
    shows = [f"show bob {shown(number)}" for number in range(ENDLESS)]
    diagram = Diagram(history(*SAYS_HELLO, *shows))
    more = ENDLESS - 30
    assert f"; and {more} more\n" in str(diagram)
    assert f"\n{more} messages to tabs are left out: diagram().whole() has all" in str(diagram)
    assert f"and {more} more" in words(diagram)
    assert "19999 messages again" in diagram.summary or "20000 messages" in diagram.summary
    bundle = diagram._repr_mimebundle_()
    assert max(map(len, (diagram.svg, *bundle.values()))) < 30_000
    assert len(looks(diagram.whole())) > ENDLESS
    assert "left out" not in str(diagram)


def test_message_that_a_tab_gets_with_many_others_is_drawn_if_it_is_a_fault():
    """The control: what is left out of a long catch-up is not what went wrong."""
    said = [one for number in range(1, 101) for one in sent("ann", number, "hi", "ann")]
    caught_up = [f"show bob {number} hi" for number in [*range(1, 81), 80, *range(81, 101)]]
    diagram = Diagram(history("join ann", *said, "join bob", *caught_up))
    assert "again: 80" in str(diagram) and "again: 80" in words(diagram)
    assert "; and 71 more\n" in str(diagram)
    assert (
        str(diagram)
        .splitlines()[-1]
        .startswith("72 of 102 steps and 71 messages to tabs are left out")
    )


@pytest.mark.parametrize("fate", ["lost", "refused"])
def test_summary_of_many_messages_that_fail_counts_them(fate):
    """It is one sentence, whatever a reader's loop has sent."""
    answer = ["refuse ann hi"] if fate == "refused" else []
    made = history("join ann", *(["send ann hi", *answer] * 1000))
    summary = Diagram(made).summary
    assert summary.count(f'sends "hi", which is {fate}') == 3
    assert summary.endswith(f"; ann sends 997 more times what is {fate}.")
    few = history("join ann", *(["send ann hi", *answer] * 3))
    assert "more" not in Diagram(few).summary


def test_summary_of_many_messages_that_are_not_in_the_log_counts_them():
    """An offset for each, and no row."""
    said = [one for number in range(1, 1001) for one in sent("ann", number, "hi", "ann")]
    made = history("join ann", *said)
    made.stored = lambda: []
    summary = Diagram(made).summary
    assert summary.count('"hi" not in its log') == 3
    assert "; the server has 997 more not in its log" in summary
