#include "server/tracer.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "server/text.h"

namespace vitower {
namespace {

int ThreadId() {
  thread_local const int id = static_cast<int>(syscall(SYS_gettid));
  return id;
}

std::string ThreadName() {
  char name[16] = {};
  pthread_getname_np(pthread_self(), name, sizeof(name));
  return name;
}

double Micros(std::chrono::nanoseconds time) { return std::chrono::duration<double, std::micro>(time).count(); }

}  // namespace

void Tracer::Span(const char* name, TimePoint begin, TimePoint end, Ids ids) {
  if (on()) Add({name, begin, end, ThreadId(), ids});
}

void Tracer::Wait(const char* name, TimePoint begin, TimePoint end, uint64_t item) {
  if (on()) Add({name, begin, end, 0, {item}});
}

void Tracer::Add(Event event) {
  MutexLock lock(mu_);
  if (!on() || recording_.events.size() >= kMostEvents || event.end < recording_.began_at) return;
  if (event.thread != 0 && recording_.threads.count(event.thread) == 0) recording_.threads[event.thread] = ThreadName();
  recording_.events.push_back(event);
}

absl::StatusOr<std::string> Tracer::Record(std::chrono::nanoseconds duration) {
  const absl::StatusOr<Recording> recording = Collect(duration);
  if (!recording.ok()) return recording.status();
  std::string json = Json(*recording);
  MutexLock lock(mu_);
  busy_ = false;
  return json;
}

absl::StatusOr<Tracer::Recording> Tracer::Collect(std::chrono::nanoseconds duration) {
  MutexLock lock(mu_);
  if (busy_ || stopped_) return absl::FailedPreconditionError("a trace is being recorded, or the server stops");
  busy_ = true;
  recording_.began_at = clock_.Now();
  on_.store(true, std::memory_order_relaxed);
  const TimePoint until = recording_.began_at + duration;
  while (!stopped_ && clock_.Now() < until) clock_.WaitUntil(changed_, mu_, until);
  on_.store(false, std::memory_order_relaxed);
  return std::exchange(recording_, {});
}

void Tracer::Stop() {
  {
    MutexLock lock(mu_);
    stopped_ = true;
  }
  changed_.NotifyAll();
}

// Times from the beginning of the recording; what began before it shows with a negative one.
std::string Tracer::Json(const Recording& recording) {
  nlohmann::json events = nlohmann::json::array();
  const int pid = getpid();
  const auto add = [&](nlohmann::json event) {
    event["pid"] = pid;
    events.push_back(std::move(event));
  };
  for (const auto& [thread, name] : recording.threads) {
    add({{"name", "thread_name"}, {"ph", "M"}, {"tid", thread}, {"args", {{"name", name}}}});
  }
  for (const Event& event : recording.events) {
    const double ts = Micros(event.begin - recording.began_at);
    if (event.thread != 0) {
      nlohmann::json args;
      if (event.ids.item != 0) args["item"] = event.ids.item;
      if (event.ids.batch != 0) args["batch"] = event.ids.batch;
      if (event.ids.patches != 0) args["patches"] = event.ids.patches;
      add({{"name", event.name},
           {"ph", "X"},
           {"ts", ts},
           {"dur", Micros(event.end - event.begin)},
           {"tid", event.thread},
           {"args", args}});
      continue;
    }
    const std::string id = Cat(event.ids.item);
    add({{"name", event.name}, {"cat", "item"}, {"ph", "b"}, {"id", id}, {"ts", ts}, {"tid", 0}});
    add({{"name", event.name},
         {"cat", "item"},
         {"ph", "e"},
         {"id", id},
         {"ts", Micros(event.end - recording.began_at)},
         {"tid", 0}});
  }
  return nlohmann::json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump();
}

}  // namespace vitower
