#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/encoder.h"
#include "server/http_page.h"
#include "server/server.h"
#include "server/stage.h"
#include "server/state.h"
#include "server/status.h"

namespace vitower {

// Everything that Prometheus sees, with prometheus-cpp kept inside metrics.cc. Names and meanings: docs/design.md,
// "Metrics". Series whose labels are known exist at 0 from the start. Thread-safe; calls do not block.
class Metrics final {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void SetModel(const EncoderInfo& info, const std::vector<std::string>& devices);
  void SetLimits(const ServerOptions& options);
  void SetState(State state);
  void SetInFlight(int64_t items, int64_t patches, int64_t bytes);
  // `encoder` counts the devices of SetModel, among which a GPU is once for each of its encoders: it is up while all of
  // them are.
  void SetDeviceUp(const std::string& device, size_t encoder, bool up);
  void SetDeviceBudget(const std::string& device, int64_t patches);

  void CountReceived(int64_t bytes);
  void CountSent(int64_t bytes);
  void CountRejected(std::string_view method, Fault reason);  // a call, or an item of a stream
  void CountDropped(Fault reason);
  void CountItem(std::string_view kind, absl::StatusCode code);
  void CountNonfinite();
  void CountAuthFailure(std::string_view reason);  // "missing", "malformed" or "unknown"
  void CountConnection(bool taken);
  void CountReload(std::string_view file, bool used);  // "tokens" or "certificates"
  void SetConnections(int64_t connections);
  void SetCertificateExpiry(std::chrono::system_clock::time_point expires);
  void CountCacheHit();
  void CountCacheMiss();
  void CountCacheEviction();
  void SetCacheBytes(int64_t bytes);
  void CountEncoded(int64_t patches, int64_t tokens);

  void ObserveStage(Stage stage, double seconds);
  void ObserveBatch(const ForwardTimes& times, int64_t items, int64_t patches, int64_t budget_patches);
  void AddDeviceBusy(const std::string& device, std::chrono::nanoseconds busy);
  void ObserveRequest(std::string_view method, absl::StatusCode code, double seconds);

  // The whole in Prometheus' text format.
  std::string Text() const;

  // Serves Text() at http://`address`/metrics from now on, a page for people at its root and `pages` beside them, and
  // returns the port. UNAVAILABLE names the address. What the pages look at must be there until StopListening.
  absl::StatusOr<int> Listen(const std::string& address, HttpPages pages = {});
  // No page is being made when it returns.
  void StopListening();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace vitower
