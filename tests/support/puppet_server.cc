// A server with a tower that takes time but no CPU, so that clients and the wire can be measured and tested without a
// model. Prints "listening on PORT metrics PORT" when it serves; ends on SIGTERM or SIGINT as `vitower serve` does.

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/log.h"
#include "server/malloc_arenas.h"
#include "server/server.h"
#include "tests/support/timed_encoder.h"

namespace vitower {
namespace {

struct Flags {
  ServerOptions server;
  TimedEncoderOptions encoder;
  int64_t devices = 1;
  int64_t encoders_per_device = 1;
  int64_t device_min_us = 2000;
  int64_t device_upload_us = 0;
  int64_t max_batch_delay_us = 0;
  std::string port_file;
};

void AddLimits(CLI::App& app, ServerOptions& server) {
  const auto bytes = [&app](const char* flag, int64_t& target) {
    app.add_option(flag, target)->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))->capture_default_str();
  };
  bytes("--max-request-bytes", server.max_request_bytes);
  bytes("--max-reply-bytes", server.max_reply_bytes);
  bytes("--max-inflight-bytes", server.max_inflight_bytes);
  app.add_option("--max-request-items", server.max_request_items)->capture_default_str();
  app.add_option("--max-image-pixels", server.max_image_pixels)->capture_default_str();
  app.add_option("--max-item-patches", server.max_item_patches)->capture_default_str();
  app.add_option("--max-batch-patches", server.max_batch_patches)->capture_default_str();
  app.add_option("--max-queue-patches", server.max_queue_patches)->capture_default_str();
  app.add_option("--preprocess-threads", server.preprocess_threads)->capture_default_str();
}

void AddLocks(CLI::App& app, ServerOptions& server) {
  app.add_option("--tls-cert", server.tls_cert);
  app.add_option("--tls-key", server.tls_key);
  app.add_option("--tls-client-ca", server.tls_client_ca);
  app.add_option("--auth-tokens", server.auth_tokens);
  app.add_flag("--plain-text-tokens", server.plain_text_tokens);
  app.add_option("--max-connections", server.max_connections)->capture_default_str();
}

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--listen", flags.server.listen, "HOST:PORT of gRPC")->capture_default_str();
  app.add_option("--metrics-listen", flags.server.metrics_listen, "HOST:PORT of metrics")->capture_default_str();
  app.add_option("--trace-dir", flags.server.trace_dir, "as of vitower serve");
  app.add_option("--port-file", flags.port_file, "write the port of gRPC there too, when it serves");
  app.add_option("--hidden", flags.encoder.out_hidden_size, "width of every output")
      ->check(CLI::Range(4, 1 << 16))
      ->capture_default_str();
  app.add_option("--depth", flags.encoder.deepstack_levels, "DeepStack levels")
      ->check(CLI::Range(0, 16))
      ->capture_default_str();
  app.add_option("--device-us-per-patch", flags.encoder.us_per_patch)
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--device-min-us", flags.device_min_us, "the shortest pass")->capture_default_str();
  app.add_option("--device-upload-us", flags.device_upload_us, "of a batch, before its pass")->capture_default_str();
  app.add_option("--devices", flags.devices, "how many of them")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--encoders-per-device", flags.encoders_per_device, "2: a batch is uploaded while another is computed")
      ->check(CLI::Range(1, 2))
      ->capture_default_str();
  app.add_option("--max-batch-delay-us", flags.max_batch_delay_us)->capture_default_str();
  AddLimits(app, flags.server);
  AddLocks(app, flags.server);
}

bool WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return file.good();
}

int Fail(const std::string& why) {
  std::fprintf(stderr, "puppet_server: %s\n", why.c_str());
  return 1;
}

int Serve(Flags flags) {
  LimitMallocArenas();
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);  // before any thread starts
  InitLogging(LogFormat::kText, LogLevel::kWarning);
  flags.encoder.shortest = std::chrono::microseconds(flags.device_min_us);
  flags.encoder.upload = std::chrono::microseconds(flags.device_upload_us);
  flags.server.max_batch_delay = std::chrono::microseconds(flags.max_batch_delay_us);
  std::vector<std::unique_ptr<Encoder>> encoders;
  for (int64_t i = 0; i < flags.devices; ++i) {
    flags.encoder.device = "puppet:" + std::to_string(i);
    for (auto& encoder : MakeTimedDevice(flags.encoder, flags.encoders_per_device)) {
      encoders.push_back(std::move(encoder));
    }
  }
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(flags.server, std::move(encoders));
  if (!server.ok()) return Fail(std::string(server.status().message()));
  if (absl::Status serving = (*server)->WaitUntilServing(); !serving.ok()) return Fail(std::string(serving.message()));
  std::printf("listening on %d metrics %d\n", (*server)->port(), (*server)->metrics_port());
  std::fflush(stdout);
  if (!flags.port_file.empty() && !WriteFile(flags.port_file, std::to_string((*server)->port()) + "\n")) {
    return Fail("cannot write --port-file " + flags.port_file);
  }
  int signal = 0;
  sigwait(&stop, &signal);
  return (*server)->Drain().ok() ? 0 : 1;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  CLI::App app("A vitower server with a tower that takes time but no CPU");
  vitower::Flags flags;
  flags.server.listen = "127.0.0.1:0";
  flags.server.metrics_listen = "127.0.0.1:0";
  vitower::AddFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  return vitower::Serve(std::move(flags));
}
