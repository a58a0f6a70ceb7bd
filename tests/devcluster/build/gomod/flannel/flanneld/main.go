// Command flanneld runs flannel's daemon for a node whose subnet Kubernetes chooses.
//
// Flannel's own main package cannot be built from the Go module proxy: it imports a backend of a
// cloud whose module is not served. This one puts the same public packages together, with the
// kube subnet manager, the vxlan and host-gw backends and nftables.
//
//	flanneld -node NAME -kubeconfig FILE -net-conf FILE -subnet-file FILE -public-ip ADDRESS
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
)

const (
	annotations   = "flannel.alpha.coreos.com"
	resyncSeconds = 5
)

var (
	node       = flag.String("node", "", "the name of this node")
	kubeconfig = flag.String("kubeconfig", "", "how to reach the API server")
	netConf    = flag.String("net-conf", "/etc/kube-flannel/net-conf.json", "the network's configuration")
	subnetFile = flag.String("subnet-file", "/run/flannel/subnet.env", "the file to write the node's subnet to")
	publicIP   = flag.String("public-ip", "", "the address at which the other nodes reach this one")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "flanneld:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	// The subnet manager reads the node's name from the environment, as in flannel's DaemonSet.
	if err := os.Setenv("NODE_NAME", *node); err != nil {
		return err
	}
	manager, err := kube.NewSubnetManager(ctx, "", *kubeconfig, annotations, *netConf, true)
	if err != nil {
		return fmt.Errorf("subnet manager: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("network configuration: %w", err)
	}

	var tasks sync.WaitGroup
	network, err := register(ctx, &tasks, manager, config)
	if err != nil {
		return err
	}
	if err := masquerade(ctx, config, network); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}

	// The file comes last: whoever reads it may attach pods.
	lease := network.Lease()
	err = manager.HandleSubnetFile(*subnetFile, config, true, lease.Subnet, lease.IPv6Subnet, network.MTU())
	if err != nil {
		return fmt.Errorf("subnet file: %w", err)
	}
	if err := manager.CompleteLease(ctx, lease, &tasks); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	network.Run(ctx) // until the signal
	tasks.Wait()
	return nil
}

func register(
	ctx context.Context, tasks *sync.WaitGroup, manager subnet.Manager, config *subnet.Config,
) (backend.Network, error) {
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, err
	}
	addresses := ipmatch.PublicIPOpts{PublicIP: *publicIP}
	link, err := ipmatch.LookupExtIface(*publicIP, "", "", family, addresses)
	if err != nil {
		return nil, fmt.Errorf("interface of %s: %w", *publicIP, err)
	}
	chosen, err := backend.NewManager(ctx, manager, link).GetBackend(config.BackendType)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", config.BackendType, err)
	}
	return chosen.RegisterNetwork(ctx, tasks, config)
}

// masquerade lets pods reach what is outside the network, and be forwarded to.
func masquerade(ctx context.Context, config *subnet.Config, network backend.Network) error {
	rules := &nftables.NFTablesManager{}
	if err := rules.Init(ctx); err != nil {
		return err
	}
	var none ip.IP4Net // no earlier subnet: the file of an earlier run is not read
	var none6 ip.IP6Net
	err := rules.SetupAndEnsureMasqRules(
		ctx, config.Network, none, none, config.IPv6Network, none6, none6,
		network.Lease(), resyncSeconds, false)
	if err != nil {
		return err
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resyncSeconds)
	return nil
}
