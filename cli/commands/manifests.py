"""What manifests and workloads would become: ``lint``, ``explain`` and ``preflight``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.documents import ManifestError, manifest_files, read_documents
from cli.explain import explain as explain_pod
from cli.lint import ERROR, LintContext, pod_of
from cli.lint import lint as lint_documents
from cli.lint_report import render
from cli.options import GENIE_NAMESPACE, GenieNamespace, Kubeconfig, Namespace, Output, examples
from cli.output import Format, LintFormat, print_data, print_explanations, print_table
from cli.session import Session, current_namespace, own_version
from dispatcher.annotation import split_list
from webhook.limits import CLUSTER, Limits
from webhook.snapshot import Namespace as NamespaceFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.documents import Document

    Subject = tuple[str, str, str, Mapping[str, Any] | None]
    """Kind, namespace and name of an object, and its pod as JSON; None if it has no pod."""

commands = typer.Typer()


@commands.command(
    epilog=examples(
        "kubectl genie lint -f deploy/ --networks canal,weave",
        "helm template . | kubectl genie lint -f - --from-cluster",
        "kubectl genie lint -f pod.yaml -o github",
    )
)
def lint(
    *,
    files: Annotated[
        list[str], typer.Option("--file", "-f", help="file, folder, or - for standard input")
    ],
    networks: Annotated[
        str,
        typer.Option(
            help="networks of the cluster, with commas; without it every valid name is accepted"
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
) -> None:
    """Check manifests as the webhook would, without a cluster."""
    context = LintContext(default_namespace=namespace)
    if from_cluster:
        session = Session(kubeconfig, GENIE_NAMESPACE)
        context = session.context(namespace)
        session.finish()
    elif networks:
        context = context._replace(networks=frozenset(split_list(networks)))

    findings = lint_documents(_read(files), context)
    typer.echo(render(findings, output, own_version()), nl=False)
    raise typer.Exit(1 if any(each.severity == ERROR for each in findings) else 0)


@commands.command(
    epilog=examples("kubectl genie explain web -n shop", "kubectl genie explain -f deployment.yaml")
)
def explain(
    *,
    pod: Annotated[str, typer.Argument(help="name of a pod that exists")] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="manifest; - for standard input")] = "",
    namespace: Namespace = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Show which networks a pod would get, who chose them, and on which nodes it can run."""
    if bool(pod) == bool(file):
        raise typer.BadParameter("give either the name of a pod or --file")
    where = namespace or current_namespace(kubeconfig)
    session = Session(kubeconfig, genie)
    subjects = _of_file(file, where) if file else [_of_cluster(session, where, pod)]

    nodes, namespaces = session.nodes or [], session.namespaces
    results = [
        explain_pod(
            f"{kind} {own}/{name}",
            value,
            namespaces.get(own, NamespaceFacts(name=own)),
            nodes,
            session.default_network,
        )
        for kind, own, name, value in subjects
        if value is not None
    ]
    if output is Format.TABLE:
        print_explanations(results, "There is no such pod, or no pod in the file.")
    else:
        print_data(results, output)
    session.finish()
    raise typer.Exit(0 if results and not any(each.refusals for each in results) else 1)


@commands.command(
    epilog=examples(
        "kubectl genie preflight",
        "kubectl genie preflight --max-attachments 4 --max-per-network 2",
    )
)
def preflight(
    *,
    max_attachments: Annotated[
        int, typer.Option(help="limit that you will set with the upgrade")
    ] = CLUSTER.attachments,
    max_per_network: Annotated[
        int, typer.Option(help="limit that you will set with the upgrade")
    ] = CLUSTER.per_network,
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """List the pods and workloads that this version would refuse or warn of."""
    session = Session(kubeconfig, genie)
    limits = Limits(max_attachments, max_per_network)
    context = session.context()._replace(limits=limits)
    findings = lint_documents(session.workloads(), context)
    if output is Format.TABLE:
        rows = [(each.subject, each.severity, each.message) for each in findings]
        print_table(("OBJECT", "SEVERITY", "WHY"), rows, "Nothing would be refused.")
    else:
        print_data(findings, output)
    session.finish()
    raise typer.Exit(1 if any(each.severity == ERROR for each in findings) else 0)


def _of_file(file: str, namespace: str) -> list[Subject]:
    return [
        (each.kind, each.namespace or namespace, each.name, pod_of(each)) for each in _read([file])
    ]


def _of_cluster(session: Session, namespace: str, name: str) -> Subject:
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    right = f"get pods in namespace {namespace}"
    return ("Pod", namespace, name, session.reader.one(path, right))


def _read(names: list[str]) -> list[Document]:
    """Read all manifests; the first that cannot be read ends the command with its place."""
    documents: list[Document] = []
    name = ""
    try:
        for name in names:
            if name == "-":
                documents += read_documents(sys.stdin.read(), "<stdin>")
                continue
            for path in manifest_files(Path(name)):
                documents += read_documents(path.read_text(), str(path))
    except ManifestError as error:
        place = error.place
        typer.echo(f"{place.file}:{place.line}:{place.column}: {error}", err=True)
        raise typer.Exit(2) from None
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"kubectl genie: cannot read {name}: {error}", err=True)
        raise typer.Exit(2) from None
    return documents
