"""What manifests would become: ``lint`` and ``explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import cluster_names
from cli.formats import Format, LintFormat
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Namespace,
    Output,
    command_group,
    notes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.session import Session

    Subject = tuple[str, str, str, Mapping[str, Any] | None]
    """Kind, namespace and name of an object, and its pod as JSON; None if it has no pod."""

commands = command_group()


@commands.command(
    epilog=notes(
        "kubectl genie lint -f deploy/ --networks canal,weave",
        "helm template . | kubectl genie lint -f - --from-cluster",
        "kubectl genie lint -f pod.yaml -o github",
        codes=["no error, perhaps warnings", "an error: the webhook would refuse it"],
    )
)
def lint(
    *,
    files: Annotated[
        list[str], typer.Option("--file", "-f", help="file, directory, or - for standard input")
    ],
    networks: Annotated[
        str,
        typer.Option(
            help="networks of the cluster, separated by commas; default: accept every valid name"
        ),
    ] = "",
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="read networks and namespaces from the cluster")
    ] = False,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="namespace of objects that name none")
    ] = "default",
    output: Annotated[
        LintFormat, typer.Option("--output", "-o", help="text for people; github and sarif for CI")
    ] = LintFormat.TEXT,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Check manifests as the webhook would, without a cluster."""
    from cli.lint import ERROR, LintContext, all_present
    from cli.lint import lint as lint_documents
    from cli.lint_report import render, text_parts
    from cli.manifest_input import read_manifests
    from cli.output import WORD_COLOURS, print_line
    from cli.session import Access, Session, own_version, rules_of
    from dispatcher.annotation import split_list

    rules = LintContext(default_namespace=namespace)
    if from_cluster:
        session = Session(Access(kubeconfig, context), genie)
        rules = rules_of(session)._replace(default_namespace=namespace)
        session.finish()
    elif networks:
        rules = rules._replace(networks=all_present(split_list(networks)))

    findings = lint_documents(read_manifests(files), rules)
    if output is LintFormat.TEXT:
        for each in findings:
            place, severity, rest = text_parts(each)
            print_line(place, (severity, WORD_COLOURS[severity]), rest)
    else:
        typer.echo(render(findings, output, own_version()), nl=False)
    raise typer.Exit(1 if any(each.severity == ERROR for each in findings) else 0)


@commands.command(
    epilog=notes(
        "kubectl genie explain web -n shop",
        "kubectl genie explain -f deployment.yaml",
        codes=["every pod would be admitted", "a pod would be refused, or does not exist"],
    )
)
def explain(
    *,
    pod: Annotated[
        str,
        typer.Argument(help="name of a pod that exists", autocompletion=cluster_names.pods),
    ] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="manifest; - for standard input")] = "",
    namespace: Namespace = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Show which networks a pod would get, who chose them, and on which nodes it can run."""
    from cli.explain import explain as explain_pod
    from cli.output import print_data, print_explanations
    from cli.session import Access, Session
    from webhook.snapshot import Namespace as NamespaceFacts

    if bool(pod) == bool(file):
        raise typer.BadParameter("give either the name of a pod or --file")
    session = Session(Access(kubeconfig, context), genie)
    where = namespace or session.current_namespace
    pod = pod.removeprefix("pod/")  # as kubectl accepts it
    subjects = _of_file(file, where) if file else [_of_cluster(session, where, pod)]

    namespaces = session.namespaces
    results = [
        explain_pod(
            f"{kind} {own}/{name}",
            value,
            namespaces.get(own, NamespaceFacts(name=own)),
            session.nodes,
            session.cluster_networks,
            session.default_network,
            session.limits,
            session.definitions,
            session.choose_minimum,
        )
        for kind, own, name, value in subjects
        if value is not None
    ]
    if output is Format.TABLE:
        missing = f"{file} has no pod." if file else f"There is no pod {pod} in namespace {where}."
        print_explanations(results, missing)
    else:
        print_data(results, output)
    session.finish()
    raise typer.Exit(0 if results and not any(each.refusals for each in results) else 1)


def _of_file(file: str, namespace: str) -> list[Subject]:
    from cli.lint import pod_of
    from cli.manifest_input import read_manifests

    return [
        (each.kind, each.namespace or namespace, each.name, pod_of(each))
        for each in read_manifests([file])
    ]


def _of_cluster(session: Session, namespace: str, name: str) -> Subject:
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    right = f"get pods in namespace {namespace}"
    return ("Pod", namespace, name, session.reader.one(path, right))
