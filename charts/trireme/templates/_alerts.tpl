{{/*
The alerts, as lists of Prometheus rules. What an alert says is for somebody who is woken by it: what is the matter, what it means for clients, what to
look at. The operator measures stores, in trireme_store_*; the replicas measure themselves, and are scraped where a store's spec.monitoring.podMonitor
says so. The table of alerts in README.md is written from this file by charts/generate.
*/}}

{{- define "trireme.operatorAlerts" -}}
- alert: TriremeOperatorDown
  expr: (sum(trireme_operator_leader{namespace={{ .Release.Namespace | quote }}}) or vector(0)) < 1
  for: 2m
  labels:
    severity: critical
  annotations:
    summary: No Trireme operator is acting.
    description: >-
      No operator pod in {{ .Release.Namespace }} holds the Lease {{ include "trireme.fullname" . }}, or Prometheus does not reach them. Stores serve reads and writes as
      before, but a leader that is lost now is not replaced, and without a leader a replica that lost its disk does not count again. See kubectl -n {{ .Release.Namespace }} get pods,lease and the pods' logs.
- alert: TriremeOperatorErrors
  expr: sum by (kind) (increase(trireme_operator_errors_total{namespace={{ .Release.Namespace | quote }}}[10m])) > 5
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: The Trireme operator fails again and again ({{ "{{ $labels.kind }}" }}).
    description: >-
      {{ "{{ $value | humanize }}" }} errors of the kind {{ "{{ $labels.kind }}" }} within 10 minutes. Stores keep serving; changes to them may be stuck.
      The operator's log names the store and the object: kubectl -n {{ .Release.Namespace }} logs -l app.kubernetes.io/component=operator,app.kubernetes.io/part-of=trireme.
{{- end }}

{{- /*
Two times, a long and a short one, and the share of a window's budget that is spent within the long one, by its seconds: so much has been spent, and it goes on.
*/}}
{{- define "trireme.burns" -}}
{{- $of := "by (namespace, store, objective)" }}
{{- $most := printf "clamp_min(max %s (trireme_slo_window_seconds) * %s, 1) * max %s (trireme_slo_may_fail_ratio)" $of (index . 2) $of }}
{{- range $i, $time := list (index . 0) (index . 1) }}
{{- if $i }} and {{ end -}}
sum {{ $of }} (rate(trireme_slo_failed_total[{{ $time }}])) / sum {{ $of }} (rate(trireme_slo_measurements_total[{{ $time }}])) > {{ $most }}
{{- end }}
{{- end }}

{{- define "trireme.storeAlerts" -}}
{{- $store := "{{ $labels.namespace }}/{{ $labels.store }}" }}
{{- $kubectl := "kubectl trireme -n {{ $labels.namespace }} status {{ $labels.store }}" }}
{{- $value := "{{ $value | humanize }}" }}
{{- $thresholds := .Values.monitoring.prometheusRule.thresholds }}
- alert: TriremeStoreUnavailable
  expr: max by (namespace, store) (trireme_store_ready) == 0 unless on (namespace, store) max by (namespace, store, region) (trireme_store_members_reachable) < max by (namespace, store, region) (trireme_store_write_quorum)
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: Store {{ $store }} does not serve.
    description: >-
      Writes to {{ $store }}, or reads of the latest, have waited or failed for a minute. What is waited for, and whose answer is missing, stands in {{ $kubectl }}.
- alert: TriremeStoreNoQuorum
  expr: max by (namespace, store, region) (trireme_store_members_reachable) < max by (namespace, store, region) (trireme_store_write_quorum)
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: Store {{ $store }} reaches too few members for a write.
    description: >-
      Only {{ $value }} members of {{ $store }}{{ "{{ with $labels.region }} in {{ . }}{{ end }}" }} are reachable, fewer than a write needs: writes are refused, and nothing that was acknowledged is given up. Bring members back: {{ $kubectl }} names them.
- alert: TriremeStoreNoReadQuorum
  expr: max by (namespace, store) (trireme_store_members_reachable) < max by (namespace, store) (trireme_store_read_quorum)
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: Store {{ $store }} reaches too few members for a read.
    description: >-
      Only {{ $value }} members of {{ $store }} are reachable, fewer than a read needs (mode Leaderless: r, and w where reads repair before they answer): reads are refused rather than answered with what may be old. Bring members back: {{ $kubectl }} names them.
- alert: TriremeStoreDegraded
  expr: max by (namespace, store) (trireme_store_degraded) == 1
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Store {{ $store }} is degraded.
    description: >-
      {{ $store }} serves, with less than it was asked for: a member is missing, cannot be placed, or an object of the same name is somebody else's. The condition Degraded says which: {{ $kubectl }}.
- alert: TriremeStoreLagging
  expr: max by (namespace, store) (trireme_store_lag_seconds) > {{ $thresholds.lagSeconds }}
  for: 2m
  labels:
    severity: warning
  annotations:
    summary: A replica of {{ $store }} is {{ $value }} seconds behind.
    description: >-
      What it reads from its own state alone is as old as that; where there is a leader, it cannot take over without catching up. Usual causes are a slow disk, a full link, or too little CPU: kubectl trireme -n {{ "{{ $labels.namespace }}" }} lag {{ "{{ $labels.store }}" }}.
- alert: TriremeStoreBudgetBurnsFast
  expr: {{ include "trireme.burns" (list "1h" "5m" "0.02 / 3600") }}
  labels:
    severity: critical
  annotations:
    summary: Store {{ $store }} spends what its objective {{ "{{ $labels.objective }}" }} allows within hours.
    description: >-
      Within an hour {{ $store }} has spent 2 % of all that may fail in its window, and goes on. writeGap: writes wait; staleness: a replica serves what is old. Which, and since when, stands in {{ $kubectl }}.
- alert: TriremeStoreBudgetBurns
  expr: {{ include "trireme.burns" (list "6h" "30m" "0.05 / 21600") }}
  labels:
    severity: warning
  annotations:
    summary: Store {{ $store }} spends what its objective {{ "{{ $labels.objective }}" }} allows faster than it comes back.
    description: >-
      Within six hours {{ $store }} has spent 5 % of all that may fail in its window, and goes on: before long nothing is left of it. What fails stands in {{ $kubectl }}.
- alert: TriremeStoreDiverged
  expr: max by (namespace, store) (trireme_store_diverged) > 0
  labels:
    severity: critical
  annotations:
    summary: Replicas of {{ $store }} do not hold the same data.
    description: >-
      The digests of a slot differ between replicas that applied the same entries: a fault of memory, disk or software. Keep the volumes for the search of the cause; kubectl trireme -n {{ "{{ $labels.namespace }}" }} verify {{ "{{ $labels.store }}" }} names the replicas and slots. Without a leader, the annotation trireme.dev/quarantine keeps a replica out of all quorums.
- alert: TriremeStoreNotConverging
  expr: min_over_time(max by (namespace, store) (trireme_store_slots_differing)[30m:1m]) > 0
  labels:
    severity: warning
  annotations:
    summary: Replicas of {{ $store }} have differed for 30 minutes.
    description: >-
      {{ $value }} slots or more of a replica have differed from another one's all the time: what one missed is not brought to it as fast as it is written, or not at all. Usual causes are spec.feedBytesPerSecond, a slow disk, or replicas that do not reach each other: {{ $kubectl }}. Reads with r + w > n are right meanwhile.
- alert: TriremeStoreClocksDiffer
  expr: max by (namespace, store) (trireme_store_clock_offset_seconds) > 2
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Clocks of {{ $store }}'s replicas differ by {{ $value }} seconds.
    description: >-
      Beyond 5 seconds a replica refuses what another one says, and a write by the clock that is ahead may win over a later one. Check time synchronisation on the nodes; the condition Degraded names a replica: {{ $kubectl }}.
- alert: TriremeStoreLostWrites
  expr: (max by (namespace, store) (trireme_store_lost_entries) > 0) and (sum by (namespace, store) (increase(trireme_store_failovers_total[1h])) > 0)
  labels:
    severity: critical
  annotations:
    summary: A failover of {{ $store }} lost {{ $value }} entries.
    description: >-
      That happens only where the store's failover policy is PreferAvailable, or where somebody promoted a replica by force. {{ $kubectl }} shows the failover; with failover.unreplicated: Recover the entries come back with the replica that has them.
- alert: TriremeStoreFailsOverOften
  expr: sum by (namespace, store) (increase(trireme_store_failovers_total[1h])) > {{ $thresholds.failoversPerHour }}
  labels:
    severity: warning
  annotations:
    summary: Store {{ $store }} failed over {{ $value }} times within an hour.
    description: >-
      Each failover holds writes up for a moment; so many have a common cause: memory limits, a flapping node or link, or a suspicion time too short for the load. {{ $kubectl }} lists the last ones with their causes.
- alert: TriremeStoreWriteGap
  expr: (max by (namespace, store) (trireme_store_write_gap_seconds) > {{ $thresholds.writeGapSeconds }}) and (sum by (namespace, store) (increase(trireme_store_failovers_total[15m])) > 0)
  labels:
    severity: warning
  annotations:
    summary: A failover of {{ $store }} kept writes waiting for {{ $value }} seconds.
    description: >-
      That is longer than the store's suspicion time explains. {{ $kubectl }} shows what the failover waited for.
- alert: TriremeStoreRolloutStalled
  expr: max by (namespace, store) (trireme_store_rollout_stalled) == 1
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A change of {{ $store }} has halted.
    description: >-
      A replica that was restarted for a change of {{ $store }} does not come back, and no other one is restarted before it does. The condition RolloutStalled names it: {{ $kubectl }}. Taking the change back is safe.
- alert: TriremeStorePaused
  expr: min by (namespace, store) (trireme_store_paused) == 1
  for: {{ $thresholds.pausedMinutes }}m
  labels:
    severity: warning
  annotations:
    summary: Store {{ $store }} is still paused.
    description: >-
      The annotation trireme.dev/paused has kept the operator from {{ $store }} for {{ $thresholds.pausedMinutes }} minutes: nothing that is lost now is replaced, a leader neither. kubectl trireme -n {{ "{{ $labels.namespace }}" }} resume {{ "{{ $labels.store }}" }} ends it.
{{- end }}

{{- define "trireme.replicaAlerts" -}}
{{- $pod := "{{ $labels.namespace }}/{{ $labels.pod }}" }}
{{- $value := "{{ $value | humanize }}" }}
- alert: TriremeReplicaDiskFull
  expr: max by (namespace, pod) (trireme_disk_full) == 1
  labels:
    severity: critical
  annotations:
    summary: The disk of {{ $pod }} is full.
    description: >-
      The replica refuses writes until there is room. Enlarge spec.storage.size of its store, where the storage class allows it, or delete keys.
- alert: TriremeWritesRefused
  expr: sum by (namespace, pod) (increase(trireme_no_replicas_total[5m])) > 0
  labels:
    severity: critical
  annotations:
    summary: "{{ $pod }} answers writes with NOREPLICAS."
    description: >-
      {{ $value }} commands within 5 minutes were refused because too few replicas were reachable. Nothing of them was done.
- alert: TriremeDigestMismatch
  expr: sum by (namespace, pod) (increase(trireme_digest_mismatches_total[15m])) > 0
  labels:
    severity: critical
  annotations:
    summary: "{{ $pod }} holds other data than another replica."
    description: >-
      {{ $value }} slots of the replica had another digest than the leader's or another replica's, although both had received the same. Keep its volume for the search of the cause.
- alert: TriremeClockAhead
  expr: sum by (namespace, pod) (increase(trireme_clock_refusals_total[10m])) > 0
  labels:
    severity: warning
  annotations:
    summary: "{{ $pod }} hears from clocks too far ahead."
    description: >-
      Messages were refused because a sender's clock, or the replica's own, is wrong. Check time synchronisation on the nodes.
{{- end }}
