// Peer: franz-go, records dealt to lanes by a hash of their key, so that the order of a key is kept.
//
// A poll's records are marked for commit when every lane has finished its share of it, polls in their order: at least
// once, with the same promise as Weir's default. There is no retry, no isolation of keys within a lane, and no commit
// past a lane that is slow.
//
// The protocol of all arms: options on the command line, one JSON object in the last line of output.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A poll under way: its records, and how many lanes have not finished with it.
type poll struct {
	fetches kgo.Fetches
	pending sync.WaitGroup
}

type work struct {
	records []*kgo.Record
	poll    *poll
}

var handled, firstNs, lastNs atomic.Int64
var wanted int64

// FNV-1a: short keys, no allocation.
func hash(key []byte) uint32 {
	sum := uint32(2166136261)
	for _, b := range key {
		sum = (sum ^ uint32(b)) * 16777619
	}
	return sum
}

func lane(in <-chan work, workTime time.Duration) {
	for w := range in {
		if workTime > 0 {
			for range w.records {
				time.Sleep(workTime)
				if handled.Add(1) == wanted {
					lastNs.Store(time.Now().UnixNano())
				}
			}
		} else if n := int64(len(w.records)); handled.Add(n) >= wanted {
			lastNs.CompareAndSwap(0, time.Now().UnixNano())
		}
		w.poll.pending.Done()
	}
}

// Mark polls in order, each when all its lanes are done with it.
func mark(client *kgo.Client, polls <-chan *poll) {
	for p := range polls {
		p.pending.Wait()
		p.fetches.EachPartition(func(part kgo.FetchTopicPartition) {
			if n := len(part.Records); n > 0 {
				client.MarkCommitRecords(part.Records[n-1])
			}
		})
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/twmb/franz-go" {
			return "franz-go " + dep.Version + ", " + info.GoVersion
		}
	}
	return "franz-go"
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "franz-go:", err)
	os.Exit(1)
}

func main() {
	bootstrap := flag.String("bootstrap", "", "broker")
	topic := flag.String("topic", "", "topic")
	messages := flag.Int64("messages", 0, "messages to handle")
	workUs := flag.Int64("work-us", 0, "time that a message takes")
	inFlight := flag.Int("in-flight", 16, "lanes, where a message takes time")
	flag.Int("partitions", 0, "not needed here")
	flag.Int64("keys", 0, "not needed here")
	flag.Parse()
	wanted = *messages
	lanes := 16
	if *workUs > 0 {
		lanes = *inFlight
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(*bootstrap),
		kgo.ConsumerGroup(fmt.Sprintf("bench-franz-%d-%d", os.Getpid(), time.Now().UnixNano())),
		kgo.ConsumeTopics(*topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
	)
	if err != nil {
		fail(err)
	}
	ins := make([]chan work, lanes)
	for i := range ins {
		ins[i] = make(chan work, 4) // the bound: a poll more and the loop waits
		go lane(ins[i], time.Duration(*workUs)*time.Microsecond)
	}
	polls := make(chan *poll, 4)
	go mark(client, polls)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	first := int64(0) // of the first poll: without work to do, what was fetched before time began does not count
	for pulled := int64(0); pulled < wanted; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			fail(fmt.Errorf("%d of %d messages in time", handled.Load(), wanted))
		}
		for _, e := range fetches.Errors() {
			fail(e.Err)
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if firstNs.CompareAndSwap(0, time.Now().UnixNano()) && *workUs == 0 {
			first = int64(fetches.NumRecords())
		}
		pulled += int64(fetches.NumRecords())
		p := &poll{fetches: fetches}
		shares := make([][]*kgo.Record, lanes)
		fetches.EachRecord(func(r *kgo.Record) {
			i := hash(r.Key) % uint32(lanes)
			shares[i] = append(shares[i], r)
		})
		for _, share := range shares {
			if len(share) > 0 {
				p.pending.Add(1)
			}
		}
		for i, share := range shares {
			if len(share) > 0 {
				ins[i] <- work{share, p}
			}
		}
		polls <- p
	}
	for lastNs.Load() == 0 {
		time.Sleep(100 * time.Microsecond)
		if ctx.Err() != nil {
			fail(fmt.Errorf("%d of %d messages in time", handled.Load(), wanted))
		}
	}
	if first == wanted {
		fail(fmt.Errorf("one poll brought all %d messages: too few to measure", wanted))
	}
	line, _ := json.Marshal(map[string]any{
		"messages":    wanted - first,
		"handled":     wanted,
		"seconds":     float64(lastNs.Load()-firstNs.Load()) / 1e9,
		"cpu_seconds": cpuSeconds(),
		"version":     version(),
		"settings":    fmt.Sprintf("%d lanes, fetch defaults, marked offsets committed each second", lanes),
	})
	fmt.Println(string(line))
}
