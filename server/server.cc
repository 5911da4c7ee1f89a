#include "server/server.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <utility>

#include "server/clock.h"
#include "server/embed_service.h"
#include "server/front_door.h"
#include "server/health_service.h"
#include "server/lifecycle.h"
#include "server/log.h"
#include "server/memory_limit.h"
#include "server/metrics.h"
#include "server/model_info.h"
#include "server/options.h"
#include "server/pipeline.h"
#include "server/stall_watch.h"
#include "server/status.h"
#include "server/text.h"
#include "server/trace_page.h"
#include "server/tracer.h"

namespace vitower {
namespace {

// For what is not a call of ours when all calls are done: an answer being written, a health watch that never ends.
constexpr std::chrono::milliseconds kConnectionGrace{100};

Pipeline::Options PipelineOptions(const ServerOptions& options) {
  Pipeline::Options out;
  out.items = {options.max_image_pixels, options.max_item_patches, options.max_video_frames, options.max_video_seconds};
  out.admission = {options.max_queue_patches, options.max_inflight_bytes};
  out.max_reply_bytes = options.max_reply_bytes;
  out.max_batch_patches = options.max_batch_patches;
  out.max_batch_delay = options.max_batch_delay;
  out.cache_bytes = options.cache_bytes;
  out.device_stall_timeout = options.device_stall_timeout;
  out.preprocess_threads = options.preprocess_threads;
  return out;
}

absl::Status CheckEncoders(const std::vector<std::unique_ptr<Encoder>>& encoders) {
  if (encoders.empty()) return MakeStatus(Fault::kBadInput, "there is no encoder to serve");
  const EncoderInfo& first = encoders.front()->info();
  for (const std::unique_ptr<Encoder>& encoder : encoders) {
    const EncoderInfo& info = encoder->info();
    if (info.fingerprint == first.fingerprint && info.dtype == first.dtype) continue;
    return MakeStatus(Fault::kBadInput,
                      Cat("all encoders must hold one model: ", first.name, " ", Name(first.dtype), " on ",
                          first.device, " against ", info.name, " ", Name(info.dtype), " on ", info.device));
  }
  return absl::OkStatus();
}

std::vector<std::string> DevicesOf(const std::vector<std::unique_ptr<Encoder>>& encoders) {
  std::vector<std::string> devices;
  for (const std::unique_ptr<Encoder>& encoder : encoders) devices.push_back(encoder->info().device);
  return devices;
}

// Each once: a device may have several encoders.
std::string Join(const std::vector<std::string>& devices) {
  std::string joined;
  for (auto at = devices.begin(); at != devices.end(); ++at) {
    if (std::find(devices.begin(), at, *at) == at) joined += joined.empty() ? *at : "," + *at;
  }
  return joined;
}

class ServerImpl final : public Server {
 public:
  explicit ServerImpl(ServerOptions options) : options_(std::move(options)), lifecycle_(metrics_, clock_) {
    lifecycle_.SetListener([this] { health_.OnStateChange(); });
  }
  ~ServerImpl() override {
    (void)Drain();
    tracer_.Stop();
    metrics_.StopListening();
  }

  absl::Status Open(std::vector<std::unique_ptr<Encoder>> encoders);
  absl::Status WaitUntilServing() override { return lifecycle_.WaitUntilServing(); }
  int port() const override { return port_; }
  int metrics_port() const override { return metrics_port_; }
  absl::Status Drain() override;

 private:
  HttpPages Pages();
  absl::Status Listen(const EncoderInfo& info, const std::string& devices);
  void OnReady(const absl::Status& ready);
  absl::Status DrainOnce();
  absl::Status CheckDevices();

  const ServerOptions options_;
  SteadyClock clock_;
  Metrics metrics_;
  Tracer tracer_{clock_};
  Lifecycle lifecycle_;
  int port_ = 0;
  int metrics_port_ = 0;
  std::atomic<size_t> unready_{0};  // encoders not yet warm, and the pipeline while it is being built
  std::once_flag drain_once_;
  absl::Status drained_;  // written once, under drain_once_

  // Destroyed from below. Drain has ended every call by then; the workers, which tell the lifecycle when they are warm,
  // end before gRPC does.
  HealthService health_{lifecycle_};
  std::unique_ptr<FrontDoor> door_;
  std::unique_ptr<EmbedService> service_;
  std::unique_ptr<grpc::Server> grpc_;
  StallWatch stalls_{clock_, options_.client_stall_timeout};
  std::unique_ptr<Pipeline> pipeline_;
};

absl::Status ServerImpl::Open(std::vector<std::unique_ptr<Encoder>> encoders) {
  const EncoderInfo info = encoders.front()->info();
  const std::vector<std::string> devices = DevicesOf(encoders);
  metrics_.SetModel(info, devices);
  metrics_.SetLimits(options_);
  Log(LogLevel::kInfo,
      Cat("limits: ", options_.max_queue_patches, " patches in flight, ", options_.max_inflight_bytes >> 20,
          " MiB of calls (this process may use ", UsableMemoryBytes() >> 20, " MiB), ", options_.max_batch_patches,
          " patches in a batch, ", options_.max_item_patches, " in an item, ", options_.max_request_bytes >> 20,
          " MiB in a request, ", options_.max_reply_bytes >> 20, " MiB in a reply, ", options_.preprocess_threads,
          " preprocess threads"));
  absl::StatusOr<int> metrics_port = metrics_.Listen(options_.metrics_listen, Pages());
  if (!metrics_port.ok()) return metrics_port.status();
  metrics_port_ = *metrics_port;
  if (absl::Status listening = Listen(info, Join(devices)); !listening.ok()) return listening;
  lifecycle_.Advance(State::kWarming);
  unready_ = encoders.size() + 1;
  pipeline_ = std::make_unique<Pipeline>(PipelineOptions(options_), std::move(encoders), metrics_, tracer_, clock_,
                                         Pipeline::Listeners{[this](const absl::Status& warm) { OnReady(warm); },
                                                             [this](bool any) { lifecycle_.SetStuck(!any); }});
  service_->SetPipeline(pipeline_.get());
  OnReady(absl::OkStatus());
  return absl::OkStatus();
}

// For probes: whether a restart would help, and whether to send calls here. And a trace, for people.
HttpPages ServerImpl::Pages() {
  const auto page = [this](bool well) {
    HttpPage out;
    out.code = well ? 200 : 503;
    out.body = Cat(Name(lifecycle_.state()), "\n");
    return out;
  };
  HttpPages pages = {
      {"/healthz", [this, page](std::string_view) { return page(lifecycle_.Alive()); }},
      {"/readyz", [this, page](std::string_view) { return page(lifecycle_.state() == State::kServing); }}};
  if (!options_.trace_dir.empty()) {
    pages["/debug/trace"] = [this](std::string_view query) { return TracePage(query, options_.trace_dir, tracer_); };
  }
  return pages;
}

absl::Status ServerImpl::Listen(const EncoderInfo& info, const std::string& devices) {
  absl::StatusOr<std::unique_ptr<FrontDoor>> door = FrontDoor::Create(options_, metrics_);
  if (!door.ok()) return door.status();
  door_ = *std::move(door);
  port_ = door_->port();
  service_ = std::make_unique<EmbedService>(DescribeModel(info, devices, options_), door_->gate(), lifecycle_, metrics_,
                                            tracer_, clock_, stalls_);
  grpc::ServerBuilder builder;
  door_->Install(builder);
  builder.RegisterService(service_.get());
  builder.RegisterService(&health_);
  grpc_ = builder.BuildAndStart();
  if (!grpc_) return MakeStatus(Fault::kNotReady, "gRPC could not start; its reason is in the log");
  door_->Open();
  return absl::OkStatus();
}

// On the thread of each worker, and once when the pipeline is assembled.
void ServerImpl::OnReady(const absl::Status& ready) {
  if (!ready.ok()) {
    Log(LogLevel::kError, Cat("the warm-up failed: ", std::string(ready.message())));
    return lifecycle_.FailWarmUp(ready);
  }
  if (--unready_ > 0 || !lifecycle_.Advance(State::kServing)) return;
  Log(LogLevel::kInfo, Cat("serving on port ", port_, ", metrics on port ", metrics_port_));
}

absl::Status ServerImpl::Drain() {
  std::call_once(drain_once_, [this] { drained_ = DrainOnce(); });
  return drained_;
}

// The order: balancers are told; then nothing new enters; what is inside ends by itself, or is answered for; only then
// do connections close and threads lose their work. A pass that hangs keeps its worker's thread until the destructor.
absl::Status ServerImpl::DrainOnce() {
  lifecycle_.AnnounceDrain(clock_.Now() + options_.drain_delay);
  lifecycle_.Advance(State::kDraining);
  const size_t unfinished = lifecycle_.WaitForCalls(clock_.Now() + options_.drain_timeout);
  const size_t aborted = unfinished > 0 ? lifecycle_.AbortCalls() : 0;
  if (door_) door_->Close();
  if (grpc_) grpc_->Shutdown(std::chrono::system_clock::now() + kConnectionGrace);
  if (pipeline_) pipeline_->Stop();
  lifecycle_.Advance(State::kStopped);
  if (unfinished == 0) return CheckDevices();
  const std::string message =
      Cat(unfinished, " calls and streams were still inside after --drain-timeout: ", aborted,
          " got UNAVAILABLE for what was not done, ", unfinished - aborted, " had a reply under way");
  Log(LogLevel::kWarning, message);
  return MakeStatus(Fault::kExpired, message);
}

absl::Status ServerImpl::CheckDevices() {
  if (!pipeline_ || pipeline_->AllDevicesWork()) return absl::OkStatus();
  return MakeStatus(Fault::kNoDevice, "a device is stuck: do not wait for it to end");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options,
                                                      std::vector<std::unique_ptr<Encoder>> encoders) {
  absl::StatusOr<ServerOptions> resolved = ResolveOptions(std::move(options));
  if (!resolved.ok()) return resolved.status();
  if (absl::Status checked = CheckEncoders(encoders); !checked.ok()) return checked;
  auto server = std::make_unique<ServerImpl>(*std::move(resolved));
  if (absl::Status opened = server->Open(std::move(encoders)); !opened.ok()) return opened;
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace vitower
