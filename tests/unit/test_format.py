"""Docker's --format: templates, tables, sizes; and the words of `create` as the API's body."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labcontainer import errors
from labcontainer.cli import create, creation, format, lifecycle, looking, main, run, stats
from labcontainer.cli.template import Template, TemplateError

VALUE: dict[str, Any] = {
    "Name": "x", "State": {"Running": True, "Pid": 3}, "None": None, "Empty": {}, "Big": 10**12,
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}], "Labels": {"a.b": "1"}, "Half": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Name}} {{json .State}}", 'x {"Running":true,"Pid":3}'),
        ("{{range .Mounts}}{{.Source}} {{end}}", "/a /b "),
        ("{{range $i, $m := .Mounts}}{{if $i}}, {{end}}{{$m.Source}}{{end}}", "/a, /b"),
        ("{{range $k, $v := .State}}{{$k}}={{$v}},{{end}}", "Pid=3,Running=true,"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ('{{index .Labels "a.b"}}{{index .Labels "no"}}', "1<no value>"),
        ("{{(index .Mounts 1).Source}}", "/b"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ('{{if eq .Name "y"}}y{{else if eq .Name "x" "z"}}xz{{end}}', "xz"),
        ("a {{- if and (eq .Name \"x\") .State.Running -}} yes {{- end}}", "ayes"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}no{{end}}", "3"),
        ("{{.Name | upper}}{{.Name | printf \"<%s>\"}}", "X<x>"),
        ("{{.State}} {{.None}} {{len .Mounts}}", "map[Pid:3 Running:true] <no value> 2"),
        ("{{$x := .Name}}{{$x}}{{$.Name}}", "xx"),
        ("{{join (split \"a,b\" \",\") \"/\"}}", "a/b"),
        ("{{not .Empty}} {{or .None .Name}} {{.Half}} {{.Big}}", "true x 0.5 1000000000000"),
        ("{{/* said to nobody */}}{{`raw`}}{{println .Name 1}}", "rawx 1\n"),
    ],
)  # fmt: skip
def test_templates(template: str, text: str) -> None:
    assert Template(template).render(VALUE) == text


@pytest.mark.parametrize(
    "template",
    ["{{.a", "{{foo}}", "{{if .a}}", "{{end}}", "{{}}", "{{.A | }}", "{{(.A}}", "{{$x}}", "{{.A!}}",
     "{{index .Mounts 9}}", "{{.Name .Name}}", '{{"open}}', "{{len 3}}", "{{$a b := 1}}"],
)  # fmt: skip
def test_a_bad_template_is_one_error(template: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(VALUE)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_an_error_only_for_inspect() -> None:
    assert Template("{{.Nothing.At.All}}").render(VALUE) == "<no value>"
    with pytest.raises(TemplateError, match="no entry for key 'Nothing'"):
        Template("{{.Nothing}}", missing_is_error=True).render(VALUE)


@given(st.text(alphabet='{}.$|()"`ab :=-range ifend,1', max_size=40))
def test_garbage_is_text_or_one_error(template: str) -> None:
    try:
        Template(template).render({"a": {"b": [1]}})
    except TemplateError:
        pass


ROWS = [{"ID": "1", "Name": "a"}, {"ID": "2", "Name": "a long name"}]
HEADERS = {"ID": "THE ID", "Name": "NAME"}


@pytest.mark.parametrize(
    ("form", "quiet", "text"),
    [
        ("", False, "THE ID    NAME\n1         a\n2         a long name\n"),
        ("", True, "1\n2\n"),
        (
            "table {{.Name}}\\t{{.ID}}",
            False,
            "NAME          THE ID\na             1\na long name   2\n",
        ),
        ("{{.Name}}", False, "a\na long name\n"),
        ("json", False, '{"ID":"1","Name":"a"}\n{"ID":"2","Name":"a long name"}\n'),
    ],
)
def test_lists(form: str, quiet: bool, text: str) -> None:
    columns = "{{.ID}}\t{{.Name}}"
    assert format.listing(ROWS, headers=HEADERS, columns=columns, form=form, quiet=quiet) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (999, "999B"), (1234, "1.23kB"), (1985000, "1.99MB"), (1e12, "1TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert format.size(count) == text


PORTS = [
    {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    {"IP": "0.0.0.0", "PrivatePort": 91, "PublicPort": 91, "Type": "tcp"},
    {"IP": "0.0.0.0", "PrivatePort": 90, "PublicPort": 90, "Type": "tcp"},
    {"PrivatePort": 53, "Type": "udp"}, {"PrivatePort": 443, "Type": "tcp"},
    {"IP": "::", "PrivatePort": 90, "PublicPort": 90, "Type": "tcp"},
]  # fmt: skip


def test_ports_as_docker_prints_them() -> None:
    assert looking.ports(PORTS) == (
        "443/tcp, 53/udp, 0.0.0.0:90-91->90-91/tcp, [::]:90->90/tcp, 0.0.0.0:8080->80/tcp"
    )


# --- create -------------------------------------------------------------------------------------


def body(*words: str) -> dict[str, Any]:
    found = create.parse([*words, "image", "cmd"])
    assert found is not None
    return creation.body(found[0], found[1][0], found[1][1:])


def test_the_body_of_create() -> None:
    found = body("-it", "--name", "n", "-e", "A=1", "-p", "127.0.0.1:8080:80/udp",
                 "-v", "vol:/data", "-v", "/fresh", "--mount", "type=tmpfs,target=/t,tmpfs-size=1m",
                 "--memory", "64m",
                 "--cpus", "0.5", "--restart", "on-failure:3", "--label", "k=v", "--network", "net",
                 "--network-alias", "db", "--ip", "10.0.0.5", "--health-cmd", "true",
                 "--health-interval", "1m30s", "--ulimit", "nofile=10:20", "--entrypoint", "sh",
                 "--security-opt", "no-new-privileges", "--log-opt", "max-size=1m")  # fmt: skip
    assert (found["Image"], found["Cmd"], found["Entrypoint"]) == ("image", ["cmd"], ["sh"])
    assert (found["Env"], found["Labels"], found["Volumes"]) == (
        ["A=1"],
        {"k": "v"},
        {"/fresh": {}},
    )
    assert (found["Tty"], found["OpenStdin"], found["AttachStdin"]) == (True, True, True)
    assert found["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9}
    assert found["ExposedPorts"] == {"80/udp": {}}
    host = found["HostConfig"]
    assert host["PortBindings"] == {"80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    assert host["Binds"] == ["vol:/data"]
    assert host["Mounts"][0]["TmpfsOptions"] == {"SizeBytes": 1 << 20}
    assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 5 * 10**8)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 10, "Hard": 20}]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    place = found["NetworkingConfig"]["EndpointsConfig"]["net"]
    assert place == {"Aliases": ["db"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}}


def test_limits_of_disks_and_their_like() -> None:
    host = body("--device-read-bps", "/dev/a:1mb", "--device-read-bps", "/dev/b:2",
                "--device-write-iops", "/dev/a:100", "--blkio-weight-device", "/dev/a:300",
                "--memory-swappiness", "10", "--cpu-rt-runtime", "95")["HostConfig"]  # fmt: skip
    assert host["BlkioDeviceReadBps"] == [
        {"Path": "/dev/a", "Rate": 1 << 20}, {"Path": "/dev/b", "Rate": 2}]  # fmt: skip
    assert host["BlkioDeviceWriteIOps"] == [{"Path": "/dev/a", "Rate": 100}]
    assert host["BlkioWeightDevice"] == [{"Path": "/dev/a", "Weight": 300}]
    assert (host["MemorySwappiness"], host["CpuRealtimeRuntime"]) == (10, 95)
    assert "BlkioDeviceWriteBps" not in host
    found = body("--health-cmd", "true", "--health-start-interval", "1s")["Healthcheck"]
    assert found == {"Test": ["CMD-SHELL", "true"], "StartInterval": 10**9}


@pytest.mark.parametrize(
    "words",
    [["--restart", "sometimes"], ["--restart", "always", "--rm"], ["--expose", "x"],
     ["--mount", "type=volume"], ["--network", "host", "--ip", "1.2.3.4"], ["--attach", "stdall"],
     ["--no-healthcheck", "--health-cmd", "x"], ["-v", "vol:data"], ["--stop-timeout", "soon"],
     ["--device-read-bps", "sda:1mb"], ["--device-read-iops", "/dev/sda:1mb"]],
    ids=" ".join,
)  # fmt: skip
def test_bad_words_of_create(words: list[str]) -> None:
    with pytest.raises(errors.UsageError):
        body(*words)


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        ([], False), (["--rm", "-it"], False), (["-v", "/a:/b"], False),
        (["--network", "none"], False), (["--rm=false"], True), (["-d"], True),
        (["--label", "a"], True), (["-v", "vol:/b"], True),
        (["--mount", "source=vol,target=/x"], True), (["--network", "mine"], True),
        (["--pid", "container:x"], True), (["--restart", "always"], True), (["-P"], True),
    ],
)  # fmt: skip
def test_which_containers_need_a_daemon(
    words: list[str], needs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABCONTAINER_HOST", raising=False)
    assert isinstance(run.parse([*words, "image"]), tuple) is needs


def test_the_body_of_update() -> None:
    names = ("memory", "memory_reservation", "memory_swap", "cpu_period", "cpu_quota", "cpu_shares",
             "pids_limit", "cpuset_cpus", "cpuset_mems", "cpus", "restart", "blkio_weight",
             "cpu_rt_period", "cpu_rt_runtime")  # fmt: skip
    given = dict.fromkeys(names) | {"memory": "1g", "memory_swap": "-1", "restart": "always",
                                    "blkio_weight": "20"}  # fmt: skip
    assert lifecycle.update_body(Namespace(**given)) == {
        "Memory": 1 << 30, "MemorySwap": -1, "BlkioWeight": 20,
        "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}  # fmt: skip


def test_what_a_container_uses() -> None:
    found = stats.row("web", {
        "id": "0123456789abcdef", "name": "/web", "pids_stats": {"current": 3},
        "memory_stats": {"usage": 3 << 20, "limit": 12 << 20, "stats": {"inactive_file": 1 << 20}},
        "cpu_stats": {
            "cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "networks": {"eth0": {"rx_bytes": 1234, "tx_bytes": 0}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5000}]},
    })  # fmt: skip
    assert (found["ID"], found["Name"], found["CPUPerc"]) == ("0123456789ab", "web", "40.00%")
    assert (found["MemUsage"], found["MemPerc"]) == ("2MiB / 12MiB", "16.67%")
    assert (found["NetIO"], found["BlockIO"], found["PIDs"]) == ("1.23kB / 0B", "5kB / 0B", "3")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sleep 2", '"sleep 2"'),
        ('echo "a\\b"', '"echo \\"a\\\\b\\""'),
        ("\x1b]0;title\a", '"\\x1b]0;title\\a"'),
        ("é 漢\u202e\n", '"é 漢\\u202e\\n"'),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    """As Go's strconv.Quote has it, and so docker ps."""
    assert format.quoted(text) == shown
    assert format.quoted(text).isprintable()


def test_an_error_moves_no_cursor() -> None:
    said = main.one_line(errors.LabError("no\x1b[2J such\n thing\x07"))
    assert said == "no\\x1b[2J such thing\\x07"
