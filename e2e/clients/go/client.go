// A user's program with go-redis, run by operator/cli/tests/clients; e2e/clients/README.md says what it does.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	patience = 30 * time.Second
	many     = 3000
)

var (
	ctx       = context.Background()
	protocol  int
	addresses []string
)

func connect(address string, change func(*redis.Options)) *redis.Client {
	options := &redis.Options{Addr: address, Protocol: protocol, ReadTimeout: patience}
	if change != nil {
		change(options)
	}
	return redis.NewClient(options)
}

func no(err error) {
	if err != nil {
		log.Panic(err)
	}
}

func must[T any](value T, err error) T {
	no(err)
	return value
}

func same[T any](got, wanted T) {
	if !reflect.DeepEqual(got, wanted) {
		log.Panicf("got %.2000s, wanted %.2000s", fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", wanted))
	}
}

func until(holds func() bool, otherwise func() string) {
	end := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(end) {
			log.Panic(otherwise())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func hello(here, there *redis.Client) {
	named := connect(addresses[0], func(options *redis.Options) { options.ClientName = "go" })
	defer named.Close()
	same(must(named.Ping(ctx).Result()), "PONG")
	same(must(named.ClientGetName(ctx).Result()), "go")
	about := must(named.ClientInfo(ctx).Result())
	same(about.Resp, protocol)
	same(strings.HasPrefix(about.LibName, "go-redis"), true)
	same(strings.Contains(must(named.Info(ctx, "server").Result()), "redis_version:7.2."), true)
	no(here.HSet(ctx, "hash", "a", "1", "b", "2").Err())
	no(here.ZAdd(ctx, "scores", redis.Z{Member: "x", Score: 1.5}, redis.Z{Member: "y", Score: math.Inf(1)}).Err())
	no(here.SAdd(ctx, "set", "m").Err())
	same(must(there.HGetAll(ctx, "hash").Result()), map[string]string{"a": "1", "b": "2"})
	same(must(there.ZScore(ctx, "scores", "x").Result()), 1.5)
	same(must(there.ZRangeWithScores(ctx, "scores", 0, -1).Result())[1].Score, math.Inf(1))
	same(must(there.SMembers(ctx, "set").Result()), []string{"m"})
	same(there.Get(ctx, "nothing").Err(), error(redis.Nil))
	// Any bytes, and a lot of them.
	raw := make([]byte, 2<<20)
	for at := range raw {
		raw[at] = byte(at)
	}
	no(here.Set(ctx, "bytes", raw, 0).Err())
	same(must(there.Get(ctx, "bytes").Bytes()), raw)
}

func pipelines(here, there *redis.Client) {
	replies := must(here.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := range many {
			pipe.Set(ctx, fmt.Sprint("piped:", number), number, 0)
			pipe.Incr(ctx, "piped")
		}
		return nil
	}))
	for at, reply := range replies {
		if at%2 == 0 {
			same(reply.(*redis.StatusCmd).Val(), "OK")
		} else {
			same(reply.(*redis.IntCmd).Val(), int64(at/2+1))
		}
	}
	replies, err := there.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := range many {
			pipe.Get(ctx, fmt.Sprint("piped:", number))
		}
		pipe.LPush(ctx, "piped", "x")
		return nil
	})
	same(strings.HasPrefix(err.Error(), "WRONGTYPE"), true)
	for number, reply := range replies[:many] {
		same(reply.(*redis.StringCmd).Val(), strconv.Itoa(number))
	}
}

func transactions(here, there *redis.Client) {
	no(here.Set(ctx, "balance", 10, 0).Err())
	// meanwhile: what somebody else does, at another replica.
	raise := func(meanwhile func()) error {
		return here.Watch(ctx, func(tx *redis.Tx) error {
			seen, err := tx.Get(ctx, "balance").Int()
			no(err)
			meanwhile()
			_, err = tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.Set(ctx, "balance", seen+1, 0)
				return nil
			})
			return err
		}, "balance")
	}
	no(raise(func() {}))
	same(must(there.Get(ctx, "balance").Int()), 11)
	same(raise(func() { no(there.Set(ctx, "balance", 100, 0).Err()) }), error(redis.TxFailedErr))
	same(must(here.Get(ctx, "balance").Int()), 100)
}

func subscribers(here, there *redis.Client) {
	sub := here.Subscribe(ctx, "news")
	defer sub.Close()
	same(must(sub.Receive(ctx)).(*redis.Subscription).Count, 1)
	no(sub.PSubscribe(ctx, "weather.*"))
	same(must(sub.Receive(ctx)).(*redis.Subscription).Count, 2)
	no(sub.Ping(ctx, "hi"))
	same(must(sub.Receive(ctx)).(*redis.Pong).Payload, "hi")
	hear := sub.Channel()
	next := func() string {
		select {
		case message := <-hear:
			return message.Pattern + message.Channel + ": " + message.Payload
		case <-time.After(patience):
			return "nothing"
		}
	}
	for number := range 10 {
		no(there.Publish(ctx, "news", fmt.Sprint("item ", number)).Err())
		same(next(), fmt.Sprint("news: item ", number))
		no(here.Publish(ctx, "weather.rome", fmt.Sprint(number, " degrees")).Err())
		same(next(), fmt.Sprint("weather.*weather.rome: ", number, " degrees"))
	}
	same(must(here.PubSubChannels(ctx, "*").Result()), []string{"news"})
}

func blocking(here, there *redis.Client) {
	same(here.BLPop(ctx, time.Second, "queue").Err(), error(redis.Nil))
	found := make(chan []string)
	go func() { found <- must(here.BLPop(ctx, patience, "other", "queue").Result()) }()
	waits := func() bool { return strings.Contains(must(here.ClientList(ctx).Result()), "cmd=blpop") }
	until(waits, func() string { return "nobody waits" })
	no(there.RPush(ctx, "queue", "job").Err())
	same(<-found, []string{"queue", "job"})
	same(must(there.LLen(ctx, "queue").Result()), 0)
}

func scans(here, there *redis.Client) {
	names, pairs, ranked := []string{}, []any{}, []redis.Z{}
	for number := range many {
		name := fmt.Sprint("scan:", number)
		names, pairs, ranked = append(names, name), append(pairs, name, "v"), append(ranked, redis.Z{Member: name})
	}
	no(here.MSet(ctx, pairs...).Err())
	no(here.HSet(ctx, "fields", pairs...).Err())
	no(here.SAdd(ctx, "members", names).Err())
	no(here.ZAdd(ctx, "ranked", ranked...).Err())
	slices.Sort(names)
	// step: 2 where each name comes with something.
	all := func(found *redis.ScanIterator, step int) []string {
		var got []string
		for at := 0; found.Next(ctx); at++ {
			if at%step == 0 {
				got = append(got, found.Val())
			}
		}
		no(found.Err())
		slices.Sort(got)
		return slices.Compact(got)
	}
	ones := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !strings.HasPrefix(name, "scan:1") })
	same(all(there.Scan(ctx, 0, "scan:*", 100).Iterator(), 1), names)
	same(all(there.ScanType(ctx, 0, "scan:1*", 1000, "string").Iterator(), 1), ones)
	same(all(there.HScan(ctx, "fields", 0, "*", 100).Iterator(), 2), names)
	same(all(there.SScan(ctx, "members", 0, "*", 100).Iterator(), 1), names)
	same(all(there.ZScan(ctx, "ranked", 0, "*", 100).Iterator(), 2), names)
}

func timeouts(_, _ *redis.Client) {
	hasty := connect(addresses[0], func(options *redis.Options) { options.MaxRetries, options.ContextTimeoutEnabled = -1, true })
	defer hasty.Close()
	no(hasty.Set(ctx, "there", "yes", 0).Err())
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	err := hasty.BLPop(short, 5*time.Second, "never").Err()
	var late net.Error
	if !errors.Is(err, context.DeadlineExceeded) && !(errors.As(err, &late) && late.Timeout()) {
		log.Panicf("no timeout: %v", err)
	}
	same(must(hasty.Get(ctx, "there").Result()), "yes")
}

func scripts(here, _ *redis.Client) {
	for _, err := range []error{here.Eval(ctx, "return 1", nil).Err(), redis.NewScript("return 1").Run(ctx, here, nil).Err()} {
		if err == nil || !strings.Contains(err.Error(), "script") && !strings.Contains(err.Error(), "unknown command") {
			log.Panicf("there are scripts: %v", err)
		}
	}
	same(must(here.Ping(ctx).Result()), "PONG")
}

// writer writes numbered keys, each with itself as its value, one after the other, and knows which it was told OK.
type writer struct {
	name   string
	store  *redis.Client
	told   []string
	errors []error
	count  atomic.Int64
	least  atomic.Int64
	done   chan struct{}
}

func start(name, address string) *writer {
	patient := func(options *redis.Options) {
		options.MaxRetries, options.MinRetryBackoff, options.MaxRetryBackoff = 500, 20*time.Millisecond, 20*time.Millisecond
		options.ReadTimeout = 5 * time.Second
	}
	w := &writer{name: fmt.Sprintf("go%d:%s", protocol, name), store: connect(address, patient), done: make(chan struct{})}
	w.least.Store(math.MaxInt64)
	go func() {
		defer close(w.done)
		for number := 0; w.count.Load() < w.least.Load(); number++ {
			key := fmt.Sprint(w.name, ":", number)
			if err := w.store.Set(ctx, key, key, 0).Err(); err != nil {
				w.errors = append(w.errors, err)
				continue
			}
			w.told = append(w.told, key)
			w.count.Add(1)
		}
	}()
	return w
}

func failover() {
	writers := []*writer{start("leader", addresses[0]), start("follower", addresses[1])}
	for _, w := range writers {
		until(func() bool { return w.count.Load() >= 200 }, func() string { return w.name + " does not write" })
	}
	fmt.Println("writing")
	same(must(bufio.NewReader(os.Stdin).ReadString('\n')), "killed\n")
	var told []string
	for _, w := range writers {
		w.least.Store(w.count.Load() + 200)
	}
	for _, w := range writers {
		select {
		case <-w.done:
			told = append(told, w.told...)
		case <-time.After(patience):
			log.Panic(w.name, " does not go on")
		}
	}
	lost := 0
	for _, address := range addresses {
		replies, err := connect(address, nil).Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, key := range told {
				pipe.Get(ctx, key)
			}
			return nil
		})
		if err != redis.Nil {
			no(err)
		}
		for at, reply := range replies {
			if reply.(*redis.StringCmd).Val() != told[at] {
				lost++
			}
		}
	}
	same(len(writers[1].errors), 0)
	fmt.Printf("acknowledged %d, lost %d, errors %d\n", len(told), lost, len(writers[0].errors))
}

func main() {
	protocol, addresses = must(strconv.Atoi(os.Args[1])), os.Args[2:]
	here, there := connect(addresses[0], nil), connect(addresses[1], nil)
	steps := []struct {
		name string
		step func(here, there *redis.Client)
	}{
		{"hello", hello}, {"pipelines", pipelines}, {"transactions", transactions}, {"subscribers", subscribers},
		{"blocking", blocking}, {"scans", scans}, {"timeouts", timeouts}, {"scripts", scripts},
	}
	for _, one := range steps {
		one.step(here, there)
		fmt.Println(one.name)
	}
	failover()
}
