{{/* The one image of all parts. */}}
{{- define "genie.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The agent serves metrics on the node's address; empty where it does not. */}}
{{- define "genie.agentMetrics" -}}
{{- if or .Values.metrics.podMonitor .Values.agent.metricsOnNodeAddress }}true{{ end -}}
{{- end -}}

{{/* The mode of NetworkAttachmentDefinitions, empty for off (which YAML may read as false). */}}
{{- define "genie.definitions" -}}
{{- $mode := .Values.attachmentDefinitions.mode | default "off" -}}
{{- if ne $mode "off" }}{{ $mode }}{{ end -}}
{{- end -}}

{{/* Whether pods are attached to NetworkAttachmentDefinitions; empty where not. */}}
{{- define "genie.enforced" -}}
{{- if eq (include "genie.definitions" .) "enforce" }}true{{ end -}}
{{- end -}}

{{/* What agent and webhook must know alike of NetworkAttachmentDefinitions, as variables. */}}
{{- define "genie.definitionSettings" -}}
{{- with .Values.attachmentDefinitions -}}
- {name: GENIE_MISSING_CAPABILITY, value: {{ .missingCapability }}}
- {name: GENIE_MULTUS_NAMESPACE, value: {{ .multusNamespace | quote }}}
- {name: GENIE_TRUSTED_NAMESPACES, value: {{ join "," .trustedNamespaces | default "," | quote }}}
{{- with .tenantTemplates }}
- {name: GENIE_TENANT_TEMPLATES, value: {{ toJson . | quote }}}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The webhook's settings, as a ConfigMap's data. */}}
{{- define "genie.webhookSettings" -}}
GENIE_NETWORKS: {{ join "," .Values.webhook.networks | quote }}
GENIE_SCHEDULING: {{ .Values.webhook.scheduling | quote }}
GENIE_CHOOSE_MINIMUM: {{ .Values.webhook.chooseMinimum | quote }}
{{- if .Values.webhook.hostNetwork }}
GENIE_PORT: "10443"
GENIE_PROBE_PORT: "10080"
{{- end }}
{{- range $name, $value := .Values.webhook.settings }}
{{- /* Helm reads every number of a file as a float, and would write 1000000 as 1e+06. */}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
Whether Genie attaches the pod in this variable, in CEL. It does not attach pods on the node's network,
static pods' mirrors, and pods for Windows. Webhook and policies share this: what the one does not see,
the other must not refuse.
*/}}
{{- define "genie.attached" -}}
!{{ . }}.spec.?hostNetwork.orValue(false)
      && !{{ . }}.metadata.?annotations[?'kubernetes.io/config.mirror'].hasValue()
      && {{ . }}.spec.?os.?name.orValue('') != 'windows'
      && {{ . }}.spec.?nodeSelector[?'kubernetes.io/os'].orValue('') != 'windows'
{{- end -}}

{{/* The form of cni-genie.io/attachments (dispatcher/nad/attachments.py), as a regular expression in CEL. */}}
{{- define "genie.attachmentsForm" -}}
'^(=?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*:[0-9a-f]{6}([+]nodeNetwork)?([+]hostPort)?(,[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*:[0-9a-f]{6}([+]nodeNetwork)?([+]hostPort)?)*)?$'
{{- end -}}

{{/* The Secret with the certificate's files; empty where Genie manages its own. */}}
{{- define "genie.certificateSecret" -}}
{{- if eq .Values.certificates "cert-manager" -}}
genie-webhook-tls
{{- else if eq .Values.certificates "files" -}}
{{ .Values.certificateSecret }}
{{- end -}}
{{- end -}}

{{/*
What differs by platform: variables of agent and reaper, variables of the reaper alone, and folders
of the node that the agent needs besides the usual ones.

k3s is k3s with its own flannel (1.31 and newer), whose containerd has its folders below
/var/lib/rancher/k3s. With --flannel-backend=none k3s has the usual folders: rke2 is right then.
*/}}
{{- define "genie.platform" -}}
{{- if eq .Values.platform "k3s" -}}
env:
  GENIE_CNI_BIN_DIR: /var/lib/rancher/k3s/data/cni
  GENIE_CNI_CONF_DIR: /var/lib/rancher/k3s/agent/etc/cni/net.d
reaperEnv:
  GENIE_RUNTIME_SOCKET: /run/k3s/containerd/containerd.sock
folders:
- {name: k3s-bin, path: /var/lib/rancher/k3s/data, type: Directory}
- {name: k3s-conf, path: /var/lib/rancher/k3s/agent/etc/cni, type: Directory}
{{- else if eq .Values.platform "rke2" -}}
env: {}
reaperEnv:
  GENIE_RUNTIME_SOCKET: /run/k3s/containerd/containerd.sock
folders: []
{{- else if eq .Values.platform "crio" -}}
env:
  GENIE_OTHER_BIN_DIRS: /usr/libexec/cni
reaperEnv:
  GENIE_RUNTIME_SOCKET: /run/crio/crio.sock
folders:
- {name: cni-bin-other, path: /usr/libexec/cni, type: DirectoryOrCreate, readOnly: true}
{{- else -}}
env: {}
reaperEnv: {}
folders: []
{{- end -}}
{{- end -}}

{{/* The rules of a file, in which runbook_url says where each alert's page is. */}}
{{- define "genie.rules" -}}
{{- $url := .root.Values.metrics.runbookUrl | replace "{alert}" "${1}" -}}
{{- regexReplaceAll "runbook_url: (\\w+)" (.root.Files.Get .file) (printf "runbook_url: %q" $url) -}}
{{- end -}}
