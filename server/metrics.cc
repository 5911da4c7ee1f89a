#include "server/metrics.h"

#include <array>
#include <map>
#include <set>
#include <utility>

#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "server/device_stages.h"
#include "server/item_check.h"
#include "server/memory_limit.h"
#include "server/metrics_endpoint.h"
#include "server/mutex.h"
#include "server/process_metrics.h"
#include "server/status_page.h"
#include "server/version.h"

namespace vitower {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;
using Buckets = Histogram::BucketBoundaries;

// Every bucket of every histogram. Durations: about a factor of 2 from 50 us to a minute, finer between 1 ms and 1 s.
const Buckets& DurationBuckets() {
  static const Buckets buckets = {50e-6, 100e-6, 200e-6, 350e-6, 600e-6, 1e-3,  1.5e-3, 2.2e-3, 3.5e-3, 5e-3, 7.5e-3,
                                  11e-3, 17e-3,  25e-3,  37e-3,  56e-3,  85e-3, 0.13,   0.19,   0.28,   0.42, 0.65,
                                  1,     1.5,    2.2,    3.5,    5,      7.5,   11,     20,     35,     60};
  return buckets;
}
const Buckets& ItemBuckets() {
  static const Buckets buckets = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024};
  return buckets;
}
const Buckets& PatchBuckets() {
  static const Buckets buckets = {64,   128,  256,  512,  768,   1024,  1536,  2048,
                                  3072, 4096, 6144, 8192, 12288, 16384, 32768, 65536};
  return buckets;
}
const Buckets& RatioBuckets() {
  static const Buckets buckets = {0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1, 1.5, 2, 4};
  return buckets;
}

// What the page for people may do: run what stands in it, and ask this server.
constexpr std::string_view kPageHeaders =
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n";

// One series for each value of a label, all at 0 from the start.
template <typename Family, typename... Extra>
auto Series(Family& family, const std::string& label, const std::string& value, const Extra&... extra) {
  return &family.Add({{label, value}}, extra...);
}

std::string Str(std::string_view text) { return std::string(text); }

}  // namespace

struct Metrics::Impl {
  Mutex mu;
  std::map<std::string, std::set<size_t>> encoders_down ABSL_GUARDED_BY(mu);  // by device

  std::shared_ptr<Registry> registry = std::make_shared<Registry>();
  std::shared_ptr<prometheus::Collectable> process = MakeProcessMetrics();

  prometheus::Family<Histogram>& requests = BuildHistogram()
                                                .Name("vitower_request_duration_seconds")
                                                .Help("Handler start until the reply was sent, by method and code.")
                                                .Register(*registry);
  prometheus::Family<Counter>& items =
      BuildCounter().Name("vitower_items_total").Help("Items answered, by source and code.").Register(*registry);
  prometheus::Family<Counter>& rejects = BuildCounter()
                                             .Name("vitower_rejected_total")
                                             .Help("Calls, and items of streams, refused before they were accepted.")
                                             .Register(*registry);
  prometheus::Family<Counter>& busy = BuildCounter()
                                          .Name("vitower_device_busy_seconds_total")
                                          .Help("Time a device spent in forward passes.")
                                          .Register(*registry);
  prometheus::Family<Gauge>& up =
      BuildGauge()
          .Name("vitower_device_up")
          .Help("1 while the device works: 0 when a pass of it is stuck or a picture of its own fails.")
          .Register(*registry);
  prometheus::Family<Gauge>& budget = BuildGauge()
                                          .Name("vitower_device_budget_patches")
                                          .Help("Patches a device takes in one pass: fewer after it ran out of memory.")
                                          .Register(*registry);
  std::array<Histogram*, kStageCount> stages{};
  std::array<Histogram*, kStageCount> batch_stages{};
  std::array<Gauge*, kStateNames.size()> states{};
  std::map<Fault, Counter*> dropped;

  Counter& nonfinite = One("vitower_nonfinite_items_total", "Items refused because an output was NaN or infinite.");
  Counter& cache_hits = One("vitower_cache_hits_total", "Items answered from the cache or with one in flight.");
  Counter& cache_misses = One("vitower_cache_misses_total", "Items looked for in the cache and computed.");
  Counter& cache_evictions = One("vitower_cache_evictions_total", "Answers thrown out of the cache for others.");
  Gauge& cache_bytes = OneGauge("vitower_cache_bytes", "Memory that the cache holds.");
  Counter& patches = One("vitower_patches_total", "Patches embedded.");
  Counter& tokens = One("vitower_tokens_total", "Tokens made from them.");
  Counter& received = One("vitower_bytes_received_total", "Bytes of Embed requests.");
  Counter& sent = One("vitower_bytes_sent_total", "Bytes of Embed replies.");
  Gauge& queue_items = OneGauge("vitower_queue_items", "Items admitted and not yet answered.");
  Gauge& queue_patches = OneGauge("vitower_queue_patches", "Patches admitted and not yet answered.");
  Gauge& inflight_bytes =
      OneGauge("vitower_inflight_bytes", "Bytes held for calls: requests and replies not yet sent.");
  Histogram& batch_items = OneHistogram("vitower_batch_items", "Items of a forward pass.", ItemBuckets());
  Histogram& batch_patches = OneHistogram("vitower_batch_patches", "Patches of a forward pass.", PatchBuckets());
  Histogram& batch_fill =
      OneHistogram("vitower_batch_fill_ratio", "Patches of a forward pass against the budget.", RatioBuckets());

  prometheus::Family<Counter>& auth_failures = BuildCounter()
                                                   .Name("vitower_auth_failures_total")
                                                   .Help("Calls refused for their token, by reason.")
                                                   .Register(*registry);
  prometheus::Family<Counter>& reloads =
      BuildCounter()
          .Name("vitower_reloads_total")
          .Help("Changed files of tokens and certificates, by whether they could be used.")
          .Register(*registry);
  prometheus::Family<Counter>& connections_seen = BuildCounter()
                                                      .Name("vitower_connections_total")
                                                      .Help("Connections taken, and refused for --max-connections.")
                                                      .Register(*registry);
  Gauge& connections = OneGauge("vitower_connections", "Connections to the port of gRPC; up to a second old.");
  Gauge& certificate_expiry = OneGauge("vitower_tls_certificate_expiry_timestamp_seconds",
                                       "When the certificate in use expires; 0 where there is none.");

  std::unique_ptr<MetricsEndpoint> endpoint;  // last: it reads the above

  Impl() {
    AddStages();
    AddReasons();
    AddItemsAndRequests();
    for (const char* outcome : {"taken", "refused"}) connections_seen.Add({{"outcome", outcome}});
    for (const char* reason : {"missing", "malformed", "unknown"}) auth_failures.Add({{"reason", reason}});
    for (const char* file : {"certificates", "tokens"}) {
      for (const char* outcome : {"used", "refused"}) reloads.Add({{"file", file}, {"outcome", outcome}});
    }
    BuildGauge()
        .Name("vitower_build_info")
        .Help("1; the version is in the label.")
        .Register(*registry)
        .Add({{"version", Str(kVersion)}})
        .Set(1);
    OneGauge("vitower_memory_limit_bytes", "What this process may use: the machine's memory or its container's.")
        .Set(static_cast<double>(UsableMemoryBytes()));
  }

  Counter& One(const std::string& name, const std::string& help) {
    return BuildCounter().Name(name).Help(help).Register(*registry).Add({});
  }
  Gauge& OneGauge(const std::string& name, const std::string& help) {
    return BuildGauge().Name(name).Help(help).Register(*registry).Add({});
  }
  Histogram& OneHistogram(const std::string& name, const std::string& help, const Buckets& buckets) {
    return BuildHistogram().Name(name).Help(help).Register(*registry).Add({}, buckets);
  }

  void AddStages() {
    auto& per_item = BuildHistogram()
                         .Name("vitower_stage_duration_seconds")
                         .Help("What an item spent in each stage; device stages are those of its batch.")
                         .Register(*registry);
    auto& per_batch = BuildHistogram()
                          .Name("vitower_batch_stage_duration_seconds")
                          .Help("The device stages of each forward pass.")
                          .Register(*registry);
    for (size_t i = 0; i < kStageCount; ++i) {
      stages[i] = Series(per_item, "stage", Str(kStageNames[i]), DurationBuckets());
      if (!IsDeviceStage(static_cast<Stage>(i))) continue;
      batch_stages[i] = Series(per_batch, "stage", Str(kStageNames[i]), DurationBuckets());
    }
  }

  void AddReasons() {
    for (const Fault fault : RejectReasons()) {
      Rejects("Embed", fault);
      Rejects("EmbedStream", fault);
    }
    auto& drops = BuildCounter()
                      .Name("vitower_dropped_total")
                      .Help("Accepted items dropped before they were worked on, by reason.")
                      .Register(*registry);
    for (const Fault fault : DropReasons()) dropped[fault] = Series(drops, "reason", Str(Row(fault).label));
    auto& state = BuildGauge().Name("vitower_state").Help("1 for the state the server is in.").Register(*registry);
    for (size_t i = 0; i < states.size(); ++i) states[i] = Series(state, "state", Str(kStateNames[i]));
  }

  void AddItemsAndRequests() {
    for (const absl::StatusCode code : AnswerCodes()) {
      for (const std::string_view kind : kItemKinds) items.Add({{"kind", Str(kind)}, {"code", Str(CodeName(code))}});
      Request("Embed", code);
      Request("EmbedStream", code);
    }
    Request("GetModelInfo", absl::StatusCode::kOk);
  }

  Counter& Rejects(std::string_view method, Fault reason) {
    return rejects.Add({{"method", Str(method)}, {"reason", Str(Row(reason).label)}});
  }

  Histogram& Request(std::string_view method, absl::StatusCode code) {
    return requests.Add({{"method", Str(method)}, {"code", Str(CodeName(code))}}, DurationBuckets());
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::SetModel(const EncoderInfo& info, const std::vector<std::string>& devices) {
  Registry& registry = *impl_->registry;
  BuildGauge()
      .Name("vitower_model_info")
      .Help("1; what is served is in the labels.")
      .Register(registry)
      .Add({{"name", info.name}, {"fingerprint", info.fingerprint}, {"dtype", Str(Name(info.dtype))}})
      .Set(1);
  auto& memory = BuildGauge()
                     .Name("vitower_device_memory_bytes")
                     .Help("Memory of a device in use, by what for.")
                     .Register(registry);
  for (size_t i = 0; i < devices.size(); ++i) {
    const std::string& device = devices[i];
    memory.Add({{"device", device}, {"kind", "weights"}}).Set(static_cast<double>(info.weight_bytes));
    impl_->busy.Add({{"device", device}});
    SetDeviceUp(device, i, false);
    SetDeviceBudget(device, 0);
  }
}

void Metrics::SetLimits(const ServerOptions& options) {
  auto& family = BuildGauge()
                     .Name("vitower_limit")
                     .Help("The limits chosen at the start, by the name of the flag.")
                     .Register(*impl_->registry);
  const std::pair<const char*, int64_t> limits[] = {
      {"max_request_bytes", options.max_request_bytes}, {"max_reply_bytes", options.max_reply_bytes},
      {"max_request_items", options.max_request_items}, {"max_image_pixels", options.max_image_pixels},
      {"max_item_patches", options.max_item_patches},   {"max_batch_patches", options.max_batch_patches},
      {"max_queue_patches", options.max_queue_patches}, {"max_inflight_bytes", options.max_inflight_bytes},
      {"max_connections", options.max_connections},     {"cache_bytes", options.cache_bytes}};
  for (const auto& [name, limit] : limits) family.Add({{"name", name}}).Set(static_cast<double>(limit));
}

void Metrics::SetState(State state) {
  for (size_t i = 0; i < impl_->states.size(); ++i) impl_->states[i]->Set(i == static_cast<size_t>(state) ? 1 : 0);
}

void Metrics::SetInFlight(int64_t items, int64_t patches, int64_t bytes) {
  impl_->queue_items.Set(static_cast<double>(items));
  impl_->queue_patches.Set(static_cast<double>(patches));
  impl_->inflight_bytes.Set(static_cast<double>(bytes));
}

void Metrics::SetDeviceUp(const std::string& device, size_t encoder, bool up) {
  MutexLock lock(impl_->mu);
  std::set<size_t>& down = impl_->encoders_down[device];
  if (up) {
    down.erase(encoder);
  } else {
    down.insert(encoder);
  }
  impl_->up.Add({{"device", device}}).Set(down.empty() ? 1 : 0);
}

void Metrics::SetDeviceBudget(const std::string& device, int64_t patches) {
  impl_->budget.Add({{"device", device}}).Set(static_cast<double>(patches));
}

void Metrics::CountReceived(int64_t bytes) { impl_->received.Increment(static_cast<double>(bytes)); }
void Metrics::CountSent(int64_t bytes) { impl_->sent.Increment(static_cast<double>(bytes)); }
void Metrics::CountRejected(std::string_view method, Fault reason) { impl_->Rejects(method, reason).Increment(); }
void Metrics::CountDropped(Fault reason) { impl_->dropped.at(reason)->Increment(); }
void Metrics::CountNonfinite() { impl_->nonfinite.Increment(); }
void Metrics::CountAuthFailure(std::string_view reason) {
  impl_->auth_failures.Add({{"reason", Str(reason)}}).Increment();
}
void Metrics::CountConnection(bool taken) {
  impl_->connections_seen.Add({{"outcome", taken ? "taken" : "refused"}}).Increment();
}
void Metrics::CountReload(std::string_view file, bool used) {
  impl_->reloads.Add({{"file", Str(file)}, {"outcome", used ? "used" : "refused"}}).Increment();
}
void Metrics::SetConnections(int64_t connections) { impl_->connections.Set(static_cast<double>(connections)); }
void Metrics::SetCertificateExpiry(std::chrono::system_clock::time_point expires) {
  impl_->certificate_expiry.Set(std::chrono::duration<double>(expires.time_since_epoch()).count());
}

void Metrics::CountCacheHit() { impl_->cache_hits.Increment(); }
void Metrics::CountCacheMiss() { impl_->cache_misses.Increment(); }
void Metrics::CountCacheEviction() { impl_->cache_evictions.Increment(); }
void Metrics::SetCacheBytes(int64_t bytes) { impl_->cache_bytes.Set(static_cast<double>(bytes)); }

void Metrics::CountItem(std::string_view kind, absl::StatusCode code) {
  impl_->items.Add({{"kind", Str(kind)}, {"code", Str(CodeName(code))}}).Increment();
}

void Metrics::CountEncoded(int64_t patches, int64_t tokens) {
  impl_->patches.Increment(static_cast<double>(patches));
  impl_->tokens.Increment(static_cast<double>(tokens));
}

void Metrics::ObserveStage(Stage stage, double seconds) { impl_->stages[static_cast<size_t>(stage)]->Observe(seconds); }

void Metrics::ObserveBatch(const ForwardTimes& times, int64_t items, int64_t patches, int64_t budget_patches) {
  for (const auto& [stage, time] : kDeviceStages) {
    impl_->batch_stages[static_cast<size_t>(stage)]->Observe(Seconds(times.*time));
  }
  impl_->batch_items.Observe(static_cast<double>(items));
  impl_->batch_patches.Observe(static_cast<double>(patches));
  impl_->batch_fill.Observe(static_cast<double>(patches) / static_cast<double>(budget_patches));
}

void Metrics::AddDeviceBusy(const std::string& device, std::chrono::nanoseconds busy) {
  impl_->busy.Add({{"device", device}}).Increment(Seconds(busy));
}

void Metrics::ObserveRequest(std::string_view method, absl::StatusCode code, double seconds) {
  impl_->Request(method, code).Observe(seconds);
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry->Collect();
  for (prometheus::MetricFamily& family : impl_->process->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

void Metrics::StopListening() { impl_->endpoint.reset(); }

absl::StatusOr<int> Metrics::Listen(const std::string& address, HttpPages pages) {
  pages.emplace("/", [](std::string_view) {
    return HttpPage{200, std::string(kPageHeaders), std::string(StatusPage())};
  });
  pages.emplace("/metrics", [this](std::string_view) {
    return HttpPage{200, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", Text()};
  });
  auto endpoint = MetricsEndpoint::Start(address, std::move(pages));
  if (!endpoint.ok()) return endpoint.status();
  impl_->endpoint = *std::move(endpoint);
  return impl_->endpoint->port();
}

}  // namespace vitower
