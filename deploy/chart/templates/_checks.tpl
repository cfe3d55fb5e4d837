{{- /* Reject combinations of values that the schema cannot exclude, each with a message of one line. */ -}}
{{- define "tsfd.checks" -}}
{{- with .Values }}
{{- if ne (len (compact (list .models.release.reference .models.claim .models.oci .models.s3.uri))) 1 }}
{{- fail "Set exactly one of models.release.reference, models.claim, models.oci and models.s3.uri, the source of the models." }}
{{- end }}
{{- if and .models.release.reference (not .models.release.key) }}
{{- fail "models.release needs models.release.key, a config map with the signer's release.pub." }}
{{- end }}
{{- if and .models.release.reference (not .networkPolicy.egress) }}
{{- fail "models.release needs networkPolicy.egress to the registry and DNS, which are blocked." }}
{{- end }}
{{- if and .models.s3.uri (not .networkPolicy.egress) }}
{{- fail "models.s3.uri needs networkPolicy.egress to the store and DNS, which are blocked." }}
{{- end }}
{{- if and .traces (not .networkPolicy.egress) }}
{{- fail "traces needs networkPolicy.egress to the collector and DNS, which are blocked." }}
{{- end }}
{{- if and .keda.enabled (eq (int .replicas) 0) }}
{{- fail "keda.enabled needs replicas of at least 1: without a pod nothing is measured." }}
{{- end }}
{{- if and .keda.enabled (gt (int .replicas) (int .keda.maxReplicas)) }}
{{- fail "keda.maxReplicas must not be less than replicas, the minimum that KEDA keeps." }}
{{- end }}
{{- end }}
{{- end }}
