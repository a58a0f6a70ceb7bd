// The program webhook is an admission webhook in the usual style of Go: the peer of
// tests/bench/webhook.py and tests/bench/creation.py.
//
// It decodes AdmissionReview and Pod into the types of k8s.io/api, answers with a JSON patch, and is
// served by net/http. The decision is the least that a webhook of this kind does: it reads the
// annotation "cni", compares each name with a list, normalises the value, and requires the nodes
// that have the networks. It counts nothing, logs nothing and validates nothing else.
//
// Usage: webhook ADDRESS:PORT CERTIFICATE-AND-KEY
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

const (
	annotation  = "cni"
	labelPrefix = "network.cni-genie.io/"
	maxBody     = 7 << 20
)

// operation is one operation of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: webhook ADDRESS:PORT CERTIFICATE-AND-KEY")
	}
	known := map[string]bool{}
	for n := range 20 {
		known[fmt.Sprintf("net%d", n)] = true
	}
	http.HandleFunc("POST /pods", func(w http.ResponseWriter, r *http.Request) { serve(w, r, known) })
	log.Fatal(http.ListenAndServeTLS(os.Args[1], os.Args[2], os.Args[2], nil))
}

// serve answers one review.
func serve(w http.ResponseWriter, r *http.Request, known map[string]bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		http.Error(w, "not a Pod", http.StatusBadRequest)
		return
	}
	response := decide(&pod, known)
	response.UID = review.Request.UID
	answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

// decide returns the patch for a pod that names known networks.
func decide(pod *corev1.Pod, known map[string]bool) *admissionv1.AdmissionResponse {
	response := &admissionv1.AdmissionResponse{Allowed: true}
	value := pod.Annotations[annotation]
	if value == "" {
		return response
	}
	var networks []string
	var needs []corev1.NodeSelectorRequirement
	for _, item := range strings.Split(value, ",") {
		name := strings.TrimSpace(item)
		if !known[name] {
			response.Allowed = false
			return response
		}
		networks = append(networks, name)
		needs = append(needs, corev1.NodeSelectorRequirement{
			Key: labelPrefix + name, Operator: corev1.NodeSelectorOpIn, Values: []string{"true"},
		})
	}
	patch := []operation{
		{"replace", "/metadata/annotations/" + annotation, strings.Join(networks, ",")},
		{"add", "/spec/affinity", corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: needs}},
			},
		}}},
	}
	response.Patch, _ = json.Marshal(patch)
	kind := admissionv1.PatchTypeJSONPatch
	response.PatchType = &kind
	return response
}
