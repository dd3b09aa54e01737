//! Notifications of the browser: off until the user switches them on, which is when the browser asks.

/// Where the choice is remembered, in this browser only.
#[cfg(target_arch = "wasm32")]
const CHOICE: &str = "dashboard_notifications";

/// What a browser lets the page do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Nobody has asked yet, or the user has switched them off here.
    Off,
    /// They are shown.
    On,
    /// The browser was told never to show them for this page.
    Denied,
}

#[cfg(target_arch = "wasm32")]
mod browser {
    use wasm_bindgen_futures::JsFuture;
    use web_sys::{Notification, NotificationOptions, NotificationPermission, Storage};

    use super::{CHOICE, Permission};

    fn storage() -> Option<Storage> {
        leptos::prelude::window().local_storage().ok().flatten()
    }

    /// Whether the browser knows notifications at all.
    fn is_known() -> bool {
        js_sys::Reflect::has(&leptos::prelude::window(), &"Notification".into()).unwrap_or(false)
    }

    pub(crate) fn permission() -> Permission {
        if !is_known() {
            return Permission::Denied;
        }
        let chosen = storage().and_then(|storage| storage.get_item(CHOICE).ok().flatten()).is_some();
        match Notification::permission() {
            NotificationPermission::Granted if chosen => Permission::On,
            NotificationPermission::Denied => Permission::Denied,
            _ => Permission::Off,
        }
    }

    /// Asks the browser, which asks the user. To be called on the user's act only.
    pub(crate) async fn switch_on() -> Permission {
        if is_known()
            && let Ok(asked) = Notification::request_permission()
            && JsFuture::from(asked).await.is_ok()
            && Notification::permission() == NotificationPermission::Granted
            && let Some(storage) = storage()
        {
            let _ = storage.set_item(CHOICE, "on");
        }
        permission()
    }

    pub(crate) fn switch_off() {
        if let Some(storage) = storage() {
            let _ = storage.remove_item(CHOICE);
        }
    }

    pub(crate) fn show(title: &str, body: &str, name: &str) {
        let options = NotificationOptions::new();
        options.set_body(body);
        options.set_tag(name);
        // A browser that changed its mind shows nothing.
        let _ = Notification::new_with_options(title, &options);
    }
}

#[cfg(target_arch = "wasm32")]
pub(crate) use browser::{permission, show, switch_off, switch_on};

#[cfg(not(target_arch = "wasm32"))]
mod server {
    use super::Permission;

    /// The server has no browser to ask.
    pub(crate) fn permission() -> Permission {
        Permission::Off
    }

    /// Not reached: effects do not run in the server.
    pub(crate) fn show(_: &str, _: &str, _: &str) {}
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use server::{permission, show};

/// Whether notifications are shown.
pub(crate) fn is_on() -> bool {
    permission() == Permission::On
}
