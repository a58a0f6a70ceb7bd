// Asks the container runtime about pod sandboxes through CRI, as the kubelet and crictl do.
//
//	sandbox find NAMESPACE POD   print the id of the pod's newest sandbox
//	sandbox netns ID             print the path of its network namespace
//	sandbox stop ID              stop it: its containers end and the CNI plugin gets DEL
//	sandbox remove ID            remove it
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const socket = "unix:///run/containerd/containerd.sock"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 || (args[0] == "find") != (len(args) == 3) {
		return errors.New("usage: sandbox find NAMESPACE POD | netns ID | stop ID | remove ID")
	}
	connection, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	runtime := cri.NewRuntimeServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Second) // the kubelet waits 2 min for DEL
	defer cancel()
	switch args[0] {
	case "find":
		return find(ctx, runtime, args[1], args[2])
	case "netns":
		return netns(ctx, runtime, args[1])
	case "stop":
		_, err = runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: args[1]})
		return err
	case "remove":
		_, err = runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: args[1]})
		return err
	}
	return fmt.Errorf("no such command: %s", args[0])
}

func find(ctx context.Context, runtime cri.RuntimeServiceClient, namespace, pod string) error {
	labels := map[string]string{"io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.name": pod}
	list, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{
		Filter: &cri.PodSandboxFilter{LabelSelector: labels},
	})
	if err != nil {
		return err
	}
	var newest *cri.PodSandbox
	for _, sandbox := range list.Items {
		if newest == nil || sandbox.CreatedAt > newest.CreatedAt {
			newest = sandbox
		}
	}
	if newest == nil {
		return fmt.Errorf("pod %s/%s has no sandbox here", namespace, pod)
	}
	fmt.Println(newest.Id)
	return nil
}

func netns(ctx context.Context, runtime cri.RuntimeServiceClient, id string) error {
	status, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return err
	}
	var info struct {
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string }
			}
		}
	}
	if err := json.Unmarshal([]byte(status.Info["info"]), &info); err != nil {
		return fmt.Errorf("the runtime's description of sandbox %s: %w", id, err)
	}
	for _, namespace := range info.RuntimeSpec.Linux.Namespaces {
		if namespace.Type == "network" && namespace.Path != "" {
			fmt.Println(namespace.Path)
			return nil
		}
	}
	return fmt.Errorf("sandbox %s has no network namespace of its own", id)
}
